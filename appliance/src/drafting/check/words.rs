//! Stop words, a light stemmer, and the concepts that several words name.

use super::tokens::Token;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

static STOP: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    "left right bilateral bilaterally bilat side sides sided unilateral a an the and or but of to in on at by for with from as is are was were be been being am do does did doing have has had having he she it its they them their his her hers him i me my mine you your yours we us our this that these those there here \
     not no nor so if then than too very just also only more most some any all each other such own same can could will would should may might must shall about into over under again further once because while until up down out off through during before after above below between both few \
     what which who whom when where why how um uh okay ok yeah yes mm hmm hey well like really actually know think mean guess got get gets getting gon na gonna wan wanna go going went let lets see say says said tell right good great sure thing things kind sort lot little bit much \
     patient pt reports report reported states state stated notes note noted denies deny denied endorses endorse endorsed presents present presented mr mrs ms dr doctor patients time times today now currently since ago day days week weeks month months year years old per still even back way \
     oh ah hi hello thanks thank please alright right's anything something everything nothing one ones two come came take taking taken took use using used make made want wanted need needs needed feel feeling feels felt look looks looked continue continues continued start started"
        .split_whitespace()
        .collect()
});

/// Stop words that still matter for the negation of what follows them are handled by `negation`, not here.
pub(super) fn is_stop(word: &str) -> bool {
    STOP.contains(word)
}

/// One canonical word for words that mean the same in notes. Left: stems; right: concept.
static SAME: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let mut map = HashMap::new();
    for line in "swell: edema oedema swollen swell puffy puffi effusion
        pain: ache achy hurt sore painful tender tendern discomfort achi painles pains soreness soren nontender
        numb: numbn paresthesia paraesthesia
        tingl: tingle tingly
        dyspnea: breathless dyspnoea sob
        weak: weakn weaken
        dizzy: dizzi dizzin lightheaded lightheadedn vertigo
        vomit: emesis throw
        nausea: nauseou nauseat nauseated queasy
        fever: febrile pyrexia feverish
        fatigue: tire tir exhaust fatigu
        urine: urinat urinary pee urinate
        stool: bowel poop bm
        alcohol: drink drank wine beer etoh
        smoke: tobacco cigarette smok smoker
        hypertension: htn
        diabetes: diabetic dm
        depress: depression depressive
        anxiety: anxiou
        cough: cough
        itch: itchi pruritu itchy pruritic
        bruise: ecchymosi bruis ecchymos
        red: erythema redn erythematou
        surgery: surgical operation operat
        exercise: exercis workout
        medicine: medication med meds medicin drug pill tablet
        allergy: allergi allergic
        heart: cardiac cardio cardiovascular
        abdomen: abdominal belly tummy
        neck: cervical
        confusion: confus confused
        hallucination: hallucinate hallucinat
        deform: deformity
        injury: injur injure
        palpitation: racing flutter
        syncope: faint fainted faint
        lung: pulmonary respiratory
        kidney: renal
        liver: hepatic
        walk: ambulate ambulat ambulation
        sleep: sleep slept asleep insomnia
        normal: unremarkable wnl
        smear: pap
        increase: increas elevat elevate high higher raise rais
        decrease: decreas reduc reduce low lower diminish
        improve: improv better
        worse: worsen wors
        child: children kid baby
        weight: weigh
        palpate: palpat palpation press touch
        injury: injur injure
        fall: fell fallen
        fracture: fractur broken broke break
        sputum: phlegm mucu
        constipation: constipat
        sweat: diaphoresi diaphoretic perspire
        murmur: murmur
        rash: rash
        father: dad
        mother: mom mum
        physiotherapy: physio
        xray: radiograph
        vision: visual sight
        seizure: convulsion
        cancer: malignancy malignant
        stiff: stiffn"
        .lines()
    {
        if let Some((concept, words)) = line.split_once(':') {
            let concept = concept.trim();
            for word in words.split_whitespace().chain([concept]) {
                map.insert(word.to_owned(), concept);
                map.insert(stem(word), concept);
            }
        }
    }
    map
});

/// Several words that are one concept. The longest is tried first.
static PHRASES: LazyLock<Vec<(Vec<&'static str>, &'static str)>> = LazyLock::new(|| {
    let mut list: Vec<_> = [
        ("m g", "mg"),
        ("m c g", "mcg"),
        ("m l", "ml"),
        ("c m", "cm"),
        ("k g", "kg"),
        ("shortness of breath", "dyspnea"),
        ("short of breath", "dyspnea"),
        ("trouble breathing", "dyspnea"),
        ("difficulty breathing", "dyspnea"),
        ("out of breath", "dyspnea"),
        ("winded", "dyspnea"),
        ("hard to breathe", "dyspnea"),
        ("hard time breathing", "dyspnea"),
        ("breathing hard", "dyspnea"),
        ("catch my breath", "dyspnea"),
        ("catching my breath", "dyspnea"),
        ("catch your breath", "dyspnea"),
        ("breathing problems", "dyspnea"),
        ("breathing issues", "dyspnea"),
        ("problems breathing", "dyspnea"),
        ("passed out", "syncope"),
        ("passing out", "syncope"),
        ("pass out", "syncope"),
        ("blacked out", "syncope"),
        ("blacking out", "syncope"),
        ("lost consciousness", "syncope"),
        ("loss of consciousness", "syncope"),
        ("heart fluttering", "palpitation"),
        ("heart racing", "palpitation"),
        ("heart pounding", "palpitation"),
        ("heart beating fast", "palpitation"),
        ("skipped beats", "palpitation"),
        ("skipping beats", "palpitation"),
        ("trouble sleeping", "insomnia"),
        ("throwing up", "vomit"),
        ("threw up", "vomit"),
        ("high blood pressure", "hypertension"),
        ("high cholesterol", "hyperlipidemia"),
        ("x - ray", "xray"),
        ("x ray", "xray"),
        ("x - rays", "xray"),
        ("x rays", "xray"),
        ("light headed", "dizzy"),
        ("pins and needles", "tingl"),
        ("range of motion", "rom"),
        ("upper extremity", "arm"),
        ("upper extremities", "arm"),
        ("lower extremity", "leg"),
        ("lower extremities", "leg"),
        ("upper limb", "arm"),
        ("lower limb", "leg"),
        ("lower back", "lowback"),
        ("low back", "lowback"),
        ("physical therapy", "physiotherapy"),
        ("p t", "physiotherapy"),
        ("weight loss", "weightloss"),
        ("loss of weight", "weightloss"),
        ("lost weight", "weightloss"),
        ("lose weight", "weightloss"),
        ("losing weight", "weightloss"),
        ("lost any weight", "weightloss"),
        ("weight gain", "weightgain"),
        ("gained weight", "weightgain"),
        ("gain weight", "weightgain"),
        ("gaining weight", "weightgain"),
        ("gained any weight", "weightgain"),
        ("heart attack", "infarction"),
        ("difficulty swallowing", "dysphagia"),
        ("trouble swallowing", "dysphagia"),
        ("range of movement", "rom"),
        ("belly button", "navel"),
        ("blood sugar", "glucose"),
        ("blood sugars", "glucose"),
    ]
    .iter()
    .map(|(p, c)| (p.split(' ').collect::<Vec<_>>(), *c))
    .collect();
    list.sort_by_key(|(p, _)| std::cmp::Reverse(p.len()));
    list
});

/// The word that a negated one turns round: "nontender" is no tenderness.
pub(super) fn inverted(word: &str) -> Option<&'static str> {
    Some(match word {
        "nontender" => "tender",
        "painless" => "pain",
        "unable" => "able",
        "abnormal" | "abnormality" | "abnormalities" | "abnormally" => "normal",
        "afebrile" => "fever",
        "unstable" => "stable",
        "irregular" => "regular",
        "nondistended" => "distended",
        "noncompliant" => "compliant",
        "asymptomatic" => "symptom",
        _ => return None,
    })
}

/// The stem or concept of a lower-case word, empty for a stop word.
pub(super) fn stem_of(word: &str) -> String {
    let word = inverted(word).unwrap_or(word);
    if is_stop(word) || !word.starts_with(char::is_alphabetic) {
        return String::new();
    }
    let stem = stem(word);
    SAME.get(word)
        .or_else(|| SAME.get(&stem))
        .map_or(stem, |c| (*c).to_owned())
}

/// A light English stemmer: enough that "swelling" meets "swell" and "knees" meets "knee".
pub(super) fn stem(word: &str) -> String {
    let mut w = word.to_owned();
    if w.len() > 4 && w.ends_with("ies") {
        w.truncate(w.len() - 3);
        w.push('y');
    } else if w.len() > 4 && w.ends_with("sses") {
        w.truncate(w.len() - 2);
    } else if w.len() > 3
        && w.ends_with('s')
        && !w.ends_with("ss")
        && !w.ends_with("us")
        && !w.ends_with("is")
    {
        w.pop();
    }
    for suffix in ["ness", "ing", "ed", "ly"] {
        // "early" is no ear.
        if w.len() > suffix.len() + if suffix == "ly" { 3 } else { 2 }
            && w.ends_with(suffix)
            && w[..w.len() - suffix.len()].contains(['a', 'e', 'i', 'o', 'u', 'y'])
        {
            w.truncate(w.len() - suffix.len());
            let b = w.as_bytes();
            if b.len() > 3
                && b[b.len() - 1] == b[b.len() - 2]
                && !matches!(b[b.len() - 1], b'l' | b's' | b'e')
            {
                w.pop();
            }
            break;
        }
    }
    if w.len() > 4 && w.ends_with('e') {
        w.pop();
    }
    w
}

/// Makes one token of each phrase that names one concept.
pub(super) fn join_phrases(tokens: Vec<Token>) -> Vec<Token> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let hit = PHRASES.iter().find(|(p, _)| {
            tokens.len() >= i + p.len() && p.iter().zip(&tokens[i..]).all(|(w, t)| *w == t.text)
        });
        if let Some((phrase, concept)) = hit {
            let plural = phrase.last().is_some_and(|w| w.ends_with('s'));
            out.push(Token {
                text: (*concept).to_owned(),
                stem: (*concept).to_owned(),
                plural,
                ..tokens[i].clone()
            });
            i += phrase.len();
        } else {
            out.push(tokens[i].clone());
            i += 1;
        }
    }
    out
}
