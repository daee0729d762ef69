"""Medical multiple choice: organ system of a case, group of a drug, urgency of a complaint."""

import random

from .grammar import choices, entries, fill, letter_drill, pick, sentence

LABELS = ("A", "B", "C", "D")
METRIC = "accuracy"

SYSTEMS = {
    "heart and vessels": entries("""a racing pulse | swollen ankles in the evening |
        tightness in the chest on climbing stairs | pale and cold feet | a fluttering heartbeat |
        very high blood pressure | pain in the calf on walking | skipped heartbeats |
        throbbing varicose veins | a slow pulse with fainting | a murmur over the heart |
        a clot in the leg"""),
    "lungs": entries("""a cough with yellow phlegm | wheezing at night | short breath while lying flat |
        a barking cough | pain on breathing in | crackles at the base of the chest | a smoker's cough |
        blood-streaked sputum | rapid shallow breathing | attacks of breathlessness in spring |
        a low oxygen reading | a whistling noise on breathing out"""),
    "digestive tract": entries("""heartburn after meals | cramps and loose stools | bloating after milk |
        vomiting after supper | black stools | burning below the breastbone at night |
        constipation for days | nausea and belching | pain in the upper belly after fatty food |
        trouble with swallowing bread | a hard and tender belly | yellow eyes and dark urine"""),
    "nervous system": entries("""a numb left hand | a one-sided headache with flashes |
        trembling hands at rest | slurred speech | a drooping face | tingling toes |
        a stiff gait and slow steps | sudden double vision | loss of memory for names |
        fits with jerking arms | dizziness and unsteady balance | shooting pain along one leg"""),
}
DRUGS = {
    "beta blocker": entries("""metoprolol | bisoprolol | atenolol | propranolol | carvedilol | nebivolol |
        esmolol | labetalol | nadolol | pindolol | timolol | sotalol"""),
    "antibiotic": entries("""amoxicillin | penicillin | doxycycline | erythromycin | ampicillin |
        azithromycin | tetracycline | clarithromycin | flucloxacillin | minocycline | gentamicin |
        oxacillin"""),
    "statin": entries("""simvastatin | atorvastatin | pravastatin | lovastatin | rosuvastatin |
        fluvastatin | pitavastatin | cerivastatin"""),
    "ACE inhibitor": entries("""ramipril | enalapril | lisinopril | captopril | perindopril | fosinopril |
        benazepril | quinapril | trandolapril | moexipril | cilazapril | imidapril"""),
}
URGENCIES = {
    "care at home": entries("""a runny nose and no fever | a small scratch on the knee |
        mild sunburn on the arms | sore muscles after a run | a blocked nose |
        a mosquito bite that itches | tired eyes after reading | a dry lip | hiccups after lunch |
        a small blister"""),
    "a visit this week": entries("""a mole that slowly grows | a cough for a month |
        back pain for three weeks | a rash that comes and goes | poor sleep since winter |
        a wart on the foot | hearing that gets worse | weight loss over months |
        a knee that often clicks and aches | heavy monthly bleeding"""),
    "a visit today": entries("""a fever of 39.5 since yesterday | a painful red eye |
        burning urine and shivers | an ear that hurts and runs | a dog bite on the hand |
        a swollen and hot knee | a cut that needs stitches | vomiting since last night |
        a tooth abscess with a swollen cheek | a spreading red patch on the leg"""),
    "an ambulance": entries("""crushing chest pain and cold sweat | no answer and no breathing |
        a sudden paralysis of one side | heavy bleeding that does not stop |
        a swollen tongue after a bee sting | a fall from a roof and no feeling in the legs |
        blue lips and gasping | a seizure that goes on and on | a swallowed bottle of bleach |
        severe burns on the face"""),
}
QUESTIONS = {
    "system": (SYSTEMS, "Which part of the body should be examined first?"),
    "drug": (DRUGS, "To which group does the drug belong?"),
    "urgency": (URGENCIES, "What is the right step?"),
}
WORDS = {
    "person": entries("""a {age}-year-old {job} | a woman of {age} | a man of {age} |
        the patient, a {job}, | a {job} of {age} | a caller of {age}"""),
    "age": entries("24 | 31 | 37 | 42 | 46 | 53 | 58 | 61 | 67 | 72 | 75 | 83"),
    "job": entries(
        "teacher | farmer | driver | clerk | nurse | cook | student | painter | lawyer | gardener | pilot | tailor"
    ),
    "since": entries("since Monday | for two days | since last night | for some hours | now | again"),
}
SCENES = {
    "system": entries("""{person} has {sign} | {person} complains of {sign} |
        {person} has {sign} and also {sign2} | {person} reports {sign} {since}"""),
    "drug": entries("""{person} takes {sign} every morning | the doctor prescribes {sign} for {person} |
        {person} was given {sign} in hospital | {person} asks about {sign}"""),
    "urgency": entries("""{person} has {sign} | {person} calls about {sign} | {person} notices {sign} |
        a relative of {person} tells of {sign}"""),
}


def scene(kind: str, group: str, rng: random.Random, *, held_out: bool) -> str:
    """One sentence about a patient with signs of the group."""
    groups, _ = QUESTIONS[kind]
    sign, sign2 = (pick(groups[group], rng, held_out=held_out) for _ in range(2))
    template = rng.choice(SCENES[kind]) if sign != sign2 else SCENES[kind][0]
    return sentence(fill(template, WORDS, rng, held_out=held_out, sign=sign, sign2=sign2).replace(",.", "."))


def example(rng: random.Random, *, label: str, held_out: bool) -> tuple[str, str]:
    """One case with a lettered question; the options of a question keep their order."""
    kind = rng.choice(list(QUESTIONS))
    groups, question = QUESTIONS[kind]
    text = scene(kind, list(groups)["ABCD".index(label)], rng, held_out=held_out)
    return f"{text} {question}\n{choices(list(groups))}\nAnswer:", f" {label}"


def fact(kind: str, group: str, rng: random.Random) -> str:
    """One sentence that ties signs or drugs to their group."""
    one, two = rng.sample(QUESTIONS[kind][0][group], k=2)
    forms = {
        "system": (f"{one} points to the {group}", f"{one} and {two} are signs from the {group}"),
        "drug": (f"{one} is a kind of {group}", f"{one} and {two} act alike: each is a kind of {group}"),
        "urgency": (f"{one} calls for {group}", f"for {one}, as for {two}, {group} is right"),
    }
    return sentence(rng.choice(forms[kind]))


def document(rng: random.Random) -> str:
    """Notes from a practice about one group of signs, or several facts."""
    kind = rng.choice(list(QUESTIONS))
    group = rng.choice(list(QUESTIONS[kind][0]))
    lines = [fact(kind, group, rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.6:
        lines.insert(0, scene(kind, group, rng, held_out=True))
    return " ".join(lines)


def drill(rng: random.Random) -> tuple[str, str]:
    """A question for the group in words, or one for a letter alone."""
    kind = rng.choice(list(QUESTIONS))
    groups, question = QUESTIONS[kind]
    if rng.random() < 0.4:
        return letter_drill(list(groups), rng)
    group = rng.choice(list(groups))
    return f"{scene(kind, group, rng, held_out=True)} {question}\nAnswer in words:", f" {group}"
