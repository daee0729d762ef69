"""The labels of several tasks as one list, for a head that serves them all."""

import pickle

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


def test_a_task_knows_whether_its_labels_were_declared():
    records = {"test": [{"text": "cat", "label": "no"}, {"text": "dog", "label": "yes"}]}
    collected, declared = Task.from_records("task", records), Task.from_records("task", records, labels=["no", "yes"])
    assert (collected.labels_collected, declared.labels_collected) == (True, False)
    assert collected == declared  # what is asked is the same
    assert pickle.loads(pickle.dumps(collected)).labels_collected
    free = Task.from_records("task", {"test": [{"prompt": "cat", "answer": "dog"}]})
    assert not free.labels_collected
