"""Summary of meeting minutes in one sentence: who decided what."""

import random

from .grammar import entries, fill, pick, sentence

LABELS = None
METRIC = "exact_match"

WORDS = {
    "body": entries("""town council | school board | parks committee | housing board | library board |
        harbour board | youth council | planning committee | water board | finance committee |
        sports council | transport board | health board | arts council | market committee | parish council"""),
    "name": entries("""Ms Alder | Mr Birch | Ms Cole | Mr Dunn | Ms Ebert | Mr Flint | Ms Gray | Mr Hale |
        Ms Irwin | Mr Jonas | Ms Kerr | Mr Lund | Ms Marsh | Mr Nolan | Ms Orr | Mr Pike | Ms Quinn |
        Mr Reed | Ms Stone | Mr Tate | Ms Usher | Mr Vance | Ms Wells | Mr Young"""),
    "work": entries("""a new roof | a second entrance | longer opening hours | a fresh coat of paint |
        new lights | a ramp | solar panels | a wider gate | more benches | a bicycle rack | a new boiler |
        free parking | a safety rail | better signs | a summer fair | a new floor"""),
    "place": entries("""the library | the town hall | the swimming pool | the primary school |
        the bus station | the old mill | the museum | the sports field | the fire station |
        the market square | the harbour | the youth club | the cemetery | the theatre | the city park |
        the clinic"""),
    "month": entries("January | February | March | April | May | June | September | October | November"),
    "worry": entries("""the cost | the noise | the delay | the traffic | the upkeep | the old trees |
        the neighbours | the paperwork"""),
    "reply": entries("""a grant would cover half of it | the work would take {number} weeks |
        three offers had come in | the plan had been checked twice | the money was in the reserve |
        a report would follow"""),
    "number": entries("two | three | four | five | six | seven | eight"),
    "vote": entries("by five votes to two | by six votes to one | by four votes to three | without a vote against"),
    "aside": entries("""the minutes of the last meeting were accepted | {name} thanked the volunteers |
        a letter from a resident was read | the chair welcomed two guests | {name} sent apologies |
        the date of the next meeting was set"""),
}
OUTCOMES = {
    "approved": entries("""the motion was carried {vote} | the members agreed {vote} |
        the proposal passed {vote} | the plan was accepted {vote}"""),
    "rejected": entries("""the motion was lost | the members voted it down | the proposal failed |
        the plan was turned down"""),
    "postponed": entries("""the motion was held over until {month} |
        the members put it off until {month} | the proposal was left for {month} |
        the plan was deferred to {month}"""),
}
PROPOSED = entries("""{name} proposed {matter} | {name} asked for {matter} |
    {name} presented a plan for {matter} | a motion for {matter} was brought by {name}""")


def minutes(rng: random.Random, *, held_out: bool) -> tuple[str, str, str, str]:
    """Minutes of one meeting, with its body, its matter and its outcome."""
    outcome = rng.choice(list(OUTCOMES))
    body = pick(WORDS["body"], rng, held_out=held_out)
    matter = fill("{work} for {place}", WORDS, rng, held_out=held_out)
    lines = [
        f"Minutes of the {body}",
        pick(PROPOSED, rng, held_out=held_out),
        rng.choice(("{name} was worried about {worry}", "{name} asked about {worry}")) + "; {name} said that {reply}",
        rng.choice(OUTCOMES[outcome]),
    ]
    if rng.random() < 0.5:
        lines.insert(rng.choice((1, 4)), "{aside}")
    text = " ".join(sentence(fill(line, WORDS, rng, held_out=held_out, matter=matter)) for line in lines)
    return text, body, matter, outcome


def example(rng: random.Random, *, label: str | None, held_out: bool) -> tuple[str, str]:
    """Minutes with the request for a summary; `label` is not used, the answer is free."""
    del label
    text, body, matter, outcome = minutes(rng, held_out=held_out)
    return f"{text}\nSummary of the meeting in one sentence.\nAnswer:", f" The {body} {outcome} {matter}."


def document(rng: random.Random) -> str:
    """Minutes of a meeting followed by a line from the next one on the same matter."""
    text, body, matter, _ = minutes(rng, held_out=True)
    later = rng.choice(
        (
            f"In its next meeting the {body} came back to {matter}.",
            f"A reporter asked the {body} about {matter}.",
            f"Residents still talk about {matter}.",
        )
    )
    return f"{text} {later}" if rng.random() < 0.7 else text


def drill(rng: random.Random) -> tuple[str, str]:
    """Minutes with a question for the matter or for who met."""
    text, body, matter, _ = minutes(rng, held_out=True)
    if rng.random() < 0.5:
        return f"{text}\nWhat was the matter?\nAnswer:", f" {matter}"
    return f"{text}\nWho met?\nAnswer:", f" the {body}"
