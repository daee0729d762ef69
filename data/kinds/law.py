"""Law multiple choice: area of a case, claim of a party, ground of a defence."""

import random

from .grammar import choices, entries, fill, letter_drill, pick, sentence

LABELS = ("A", "B", "C", "D")
METRIC = "accuracy"

AREAS = {
    "contract law": entries("""{one} does not deliver the {good} that {two} ordered |
        {one} sells {two} a {good} that breaks at once |
        {one} cancels the order of a {good} after the deadline |
        {two} does not pay {one} the agreed price of a {good} |
        {one} promised in writing to repair the {good} of {two} and did not |
        {one} delivers the wrong {good} to {two} |
        {two} wants to keep the discount that {one} offered on the {good} |
        {one} charges {two} more for the {good} than was agreed"""),
    "family law": entries("""{one} and {two} separate and both want to live with their son |
        {one} asks {two} for maintenance after the divorce | {one} wants to adopt the child of {two} |
        {one} and {two} argue about visits to their daughter |
        {one} claims to be the father of the child of {two} |
        {one} and {two} quarrel over the savings from their marriage |
        the grandparents of {one} want to see the child | {one} wants to annul the marriage with {two}"""),
    "criminal law": entries("""{one} steals the {good} of {two} at night |
        {one} breaks into the house of {two} | {one} forges the signature of {two} on a cheque |
        {one} hits {two} in the face | {one} threatens {two} with a knife |
        {one} sets fire to the barn of {two} | {one} drives off drunk after hurting {two} |
        {one} sells stolen {good}s to {two}"""),
    "labour law": entries("""{one} dismisses {two} without notice |
        {one} does not pay {two} for overtime | {two} gets no holiday from the employer |
        {one} refuses {two} a reference after ten years in the firm |
        the factory of {one} ignores the night shift rules |
        {two} is moved to another post because of joining a union | {one} cuts the wages of {two} |
        {one} denies {two} sick pay"""),
}
CLAIMS = {
    "payment": entries("""{one} has delivered the {good} and waits for the money |
        {one} has repaired the {good} and the bill is still open |
        {one} lent {two} a sum that is due now | {one} has let the flat and the rent has not come |
        {one} has painted the house and {two} owes the fee | {one} worked all month and the wage is late |
        {one} taught the course and {two} keeps the fee back |
        {one} shipped the goods and the invoice is overdue"""),
    "return": entries("""{two} keeps the {good} that {one} only lent |
        {two} will not give back the keys of {one} |
        {two} found the {good} that {one} had lost and holds on to it |
        {two} has taken the {good} of {one} by mistake |
        {two} still has the {good} of {one} after the hire ended |
        the shop of {two} keeps the {good} that {one} left for repair |
        {two} was sent the {good} of {one} in error | {two} holds the papers that belong to {one}"""),
    "damages": entries("""{two} scratched the {good} of {one} | the dog of {two} bit {one} |
        {two} spilled paint over the {good} of {one} | a tile from the roof of {two} hit {one} |
        {two} ran over the {good} of {one} | a pipe of {two} burst and soaked the shop of {one} |
        {two} broke the window of {one} with a ball | {two} dropped the {good} of {one} down the stairs"""),
    "an order to stop": entries("""{two} plays loud music every night beside {one} |
        {two} keeps parking in front of the gate of {one} |
        {two} goes on printing photos of {one} without leave |
        {two} uses the trade mark of {one} again and again |
        {two} lets smoke drift into the garden of {one} daily | {two} keeps telling lies about {one} |
        {two} builds higher each week and takes the light from {one} |
        {two} keeps crossing the field of {one}"""),
}
DEFENCES = {
    "consent": entries("""{one} had agreed to it beforehand | {one} had signed that it was allowed |
        {one} had invited {two} to do it | {one} knew of it and said yes | {one} had asked for it |
        the permission of {one} was in the letter | {one} nodded when {two} asked |
        {one} had given the key and the word"""),
    "necessity": entries("""{two} had to save a child from the flood |
        there was no other way to put out the fire | {two} acted to keep a worse harm from others |
        {two} broke the door to reach an injured man | {two} swerved to avoid the cyclists |
        only so could {two} stop the runaway cart | {two} took the boat to rescue a swimmer |
        {two} cut the fence to free the trapped animals"""),
    "time limit": entries("""{one} waited nine years before going to court |
        the matter lay untouched for decades | the last day for the claim passed in spring |
        {one} filed the papers long after the deadline |
        {one} remembered the debt only after twelve years | the period for the complaint ended years ago |
        {one} let the term run out | the event was in the last century"""),
    "minor age": entries("""{two} was six when it happened | {two} still goes to nursery school |
        {two} is a child of nine | {two} signed at the age of twelve | {two} was in the third class then |
        {two} is not yet of age | the parents of {two} knew nothing of the purchase |
        {two} was a schoolboy at the time"""),
}
QUESTIONS = {
    "area": (AREAS, "Which area of law applies?"),
    "claim": (CLAIMS, "What can {one} claim?"),
    "defence": (DEFENCES, "On what can {two} rely?"),
}
WORDS = {
    "good": entries("""bicycle | piano | tractor | camera | sofa | boat | laptop | carpet | clock | tent |
        oven | guitar | van | ladder | mirror | statue"""),
}
NAMES = entries("""Arnold | Berta | Conrad | Dora | Egon | Frieda | Gustav | Hanna | Igor | Julia | Kurt |
    Lotte | Martin | Nora | Oscar | Paula | Quentin | Rosa | Simon | Thea | Ulrich | Vera | Walter | Xenia""")


def parties(rng: random.Random, *, held_out: bool) -> dict[str, str]:
    """Two different names."""
    first = pick(NAMES, rng, held_out=held_out)
    second = pick([name for name in NAMES if name != first], rng, held_out=held_out)
    return {"one": first, "two": second}


def case(kind: str, group: str, rng: random.Random, names: dict[str, str], *, held_out: bool) -> str:
    """One sentence that tells a case of the group."""
    told = pick(QUESTIONS[kind][0][group], rng, held_out=held_out)
    lead = f"{names['one']} sues {names['two']}, but " if kind == "defence" else ""
    return sentence(lead + fill(told, WORDS, rng, held_out=held_out, **names))


def example(rng: random.Random, *, label: str, held_out: bool) -> tuple[str, str]:
    """One case with a lettered question; the options of a question keep their order."""
    kind = rng.choice(list(QUESTIONS))
    groups, question = QUESTIONS[kind]
    names = parties(rng, held_out=held_out)
    text = case(kind, list(groups)["ABCD".index(label)], rng, names, held_out=held_out)
    return f"{text} {question.format(**names)}\n{choices(list(groups))}\nAnswer:", f" {label}"


def document(rng: random.Random) -> str:
    """A paragraph of a handbook: what a group is about, and cases of it."""
    kind = rng.choice(list(QUESTIONS))
    group = rng.choice(list(QUESTIONS[kind][0]))
    leads = {
        "area": (f"Cases of {group}:", f"A court decides under {group}."),
        "claim": (f"The claim is for {group}.", f"Who may ask for {group}?"),
        "defence": (f"The defence here is {group}.", f"A plea of {group} may succeed."),
    }
    lines = [case(kind, group, rng, parties(rng, held_out=True), held_out=True) for _ in range(rng.randint(2, 3))]
    return " ".join([rng.choice(leads[kind]), *lines] if rng.random() < 0.7 else lines)


def drill(rng: random.Random) -> tuple[str, str]:
    """A question for the group in words, or one for a letter alone."""
    kind = rng.choice(list(QUESTIONS))
    groups, question = QUESTIONS[kind]
    if rng.random() < 0.4:
        return letter_drill(list(groups), rng)
    names = parties(rng, held_out=True)
    group = rng.choice(list(groups))
    text = case(kind, group, rng, names, held_out=True)
    return f"{text} {question.format(**names)}\nAnswer in words:", f" {group}"
