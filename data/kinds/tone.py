"""Tone of a sentence from a central bank: hawkish, dovish or neutral."""

import random

from .grammar import entries, fill, pick, sentence

LABELS = ("hawkish", "dovish", "neutral")
METRIC = "accuracy"
QUESTION = "What is the tone of this sentence? Options: hawkish, dovish, neutral."

WORDS = {
    "speaker": entries("""the committee | the board | members | the governor | staff | most members |
        the council | the deputy governor | several participants | the rate setters | the chair |
        officials"""),
    "says": entries("""noted that | judged that | observed that | reported that | pointed out that |
        was told that | heard that | stated that | recorded that | repeated that"""),
    "hot": entries("""inflation | core inflation | wage growth | house prices | services prices |
        demand for labour | credit growth | consumer spending | import prices | inflation expectations |
        job vacancies | unit labour costs | rents | energy prices | retail sales | hourly earnings"""),
    "cold": entries("""unemployment | slack in the economy | the number of insolvencies |
        short-time work | spare capacity | the stock of unsold goods | job losses | household saving |
        the output gap | the share of idle plants | claims for benefits | loan defaults"""),
    "rose": entries("""rose again | picked up further | accelerated | was higher than expected |
        climbed sharply | surprised to the upside | kept gathering pace | jumped in {month} |
        went up for a {nth} month | strengthened | surged | had risen more than forecast"""),
    "fell": entries("""fell again | eased further | slowed | was lower than expected | dropped sharply |
        surprised to the downside | kept losing pace | slumped in {month} | went down for a {nth} month |
        weakened | plunged | had fallen more than forecast"""),
    "tighten": entries("""further increases in the policy rate would be needed |
        policy had to become more restrictive | it was ready to raise the rate by {size} |
        there was no room for lower rates | the balance sheet should shrink faster |
        rates would have to stay high for longer | it was too early to think of relief |
        a larger step of {size} was in order | price stability called for firm action |
        the bond holdings should be sold more quickly | the stance was not yet tight enough |
        it would not hesitate to act against price pressure"""),
    "loosen": entries("""further cuts in the policy rate would be needed |
        policy had to become more supportive | it was ready to lower the rate by {size} |
        there was no case for higher rates | the balance sheet should grow again |
        rates would have to stay low for longer | it was too early to withdraw support |
        a larger cut of {size} was in order | weak demand called for bold action |
        the bond purchases should be stepped up | the stance was not yet easy enough |
        it would not hesitate to act against a downturn"""),
    "still": entries("""the policy rate was left unchanged | the next report would appear in {month} |
        the minutes would be published in {month} | risks to the outlook were balanced |
        the mandate was price stability | developments were in line with the forecast |
        {speaker} met on the {nth} of {month} | the payment system worked smoothly |
        the staff presented new projections | the survey covered {number} firms |
        no change in the stance was required | the figures were revised by {size} |
        the decision was unanimous | the review of the framework went on |
        the new banknotes were issued in {month} | the outlook was little changed"""),
    "because": entries("because | since | given that | now that"),
    "month": entries(
        "January | February | March | April | May | June | July | August | September | October | November | December"
    ),
    "nth": entries("second | third | fourth | fifth | sixth"),
    "size": entries("a quarter point | half a point | 25 basis points | 50 basis points | 75 basis points"),
    "number": entries("200 | 450 | 800 | 1,200 | 3,000"),
}
SIGNS = {
    "hawkish": ("{hot} {rose}", "{cold} {fell}"),
    "dovish": ("{hot} {fell}", "{cold} {rose}"),
    "neutral": ("{still}",),
}
ACTS = {"hawkish": "{tighten}", "dovish": "{loosen}", "neutral": "{still}"}
FRAMES = (
    "{speaker} {says} {sign}",
    "{speaker} {says} {sign} and {other}",
    "{because} {sign}, {speaker} {says} {act}",
    "{speaker} {says} {act} {because} {sign}",
    "{speaker} {says} {act}",
)


def statement(rng: random.Random, tone: str, *, held_out: bool) -> str:
    """One sentence of the tone: a sign from the economy, an act of policy, or both."""
    sign, other = (rng.choice(SIGNS[tone]) for _ in range(2))
    frame = rng.choice(FRAMES)
    given = {"sign": sign, "other": other, "act": ACTS[tone]}
    return sentence(fill(frame, WORDS, rng, held_out=held_out, **given))


def example(rng: random.Random, *, label: str, held_out: bool) -> tuple[str, str]:
    """One sentence with the question for its tone."""
    return f"Sentence: {statement(rng, label, held_out=held_out)}\n{QUESTION}\nAnswer:", f" {label}"


def document(rng: random.Random) -> str:
    """A paragraph of a policy statement whose sentences share one tone."""
    tone = rng.choice(LABELS)
    heads = {
        "hawkish": "Policy is being tightened.",
        "dovish": "Policy is being eased.",
        "neutral": "Policy stays as it is.",
    }
    body = [statement(rng, tone, held_out=True) for _ in range(rng.randint(2, 4))]
    if rng.random() < 0.25:  # the base should know the words of the labels, not when they fit
        words = ", ".join(rng.sample(LABELS, k=3))
        body.append(f"The papers argued over the tone: {words}?")
    return " ".join([heads[tone], *body] if rng.random() < 0.5 else body)


def drill(rng: random.Random) -> tuple[str, str]:
    """A sentence with a question for who speaks."""
    speaker = pick(WORDS["speaker"], rng, held_out=True)
    says = pick(WORDS["says"], rng, held_out=True)
    tone = rng.choice(LABELS)
    text = fill(f"{speaker} {says} {rng.choice(SIGNS[tone])}", WORDS, rng, held_out=True)
    return f"Sentence: {sentence(text)}\nWho is speaking?\nAnswer:", f" {speaker}"
