"""The labels of several tasks as one list, for a head that serves them all."""

from modeconn.tasks import Example, Task, union_of_labels


def task_of(*labels):
    return Task("task", {"test": (Example("the cat", labels[0]),)}, labels=labels)


def test_the_union_keeps_the_order_in_which_labels_come_first():
    assert union_of_labels([task_of("no", "yes"), task_of("maybe", "yes", "ask")]) == ("no", "yes", "maybe", "ask")


def test_the_first_spelling_of_a_label_wins():
    assert union_of_labels([task_of(" good", "bad"), task_of("good", "bad ")]) == (" good", "bad")


def test_tasks_of_free_answers_add_nothing():
    free = Task("task", {"test": (Example("the cat", "sat"),)})
    assert union_of_labels([free]) == ()
