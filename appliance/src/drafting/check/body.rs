//! Parts of the body, and which lies within which.

use super::words;
use std::collections::HashMap;
use std::sync::LazyLock;

struct Parts {
    of_word: HashMap<String, &'static str>,
    within: HashMap<&'static str, &'static str>,
}

/// `part < region: words`. Words are stems as `words::stem_of` makes them.
const TABLE: &str = "head<: head cranial
scalp<head: scalp
face<head: face facial forehead
sinus<face: sinus sinusal maxillary frontal
eye<head: eye ocular eyelid vision conjunctiva pupil retina
ear<head: ear tympanic eardrum auricular
nose<head: nose nasal nare nostril turbinate
mouth<head: mouth oral lip gum teeth tooth dental
tongue<mouth: tongue
jaw<head: jaw mandible tmj
throat<head: throat pharynx tonsil uvula oropharynx pharyngeal tonsillar
neck<: neck cervical
thyroid<neck: thyroid thyromegaly
trunk<: torso trunk body
chest<trunk: chest thorax thoracic sternum rib thoraci
breast<chest: breast nipple
lung<chest: lung bronchi
heart<chest: heart coronary ventricular atrial
back<trunk: back spine spinal lumbar lowback flank paraspinal lumbosacral vertebra
sacrum<back: sacrum sacral sacroiliac tailbone coccyx
abdomen<trunk: abdomen abdominal belly stomach tummy epigastric epigastrium navel quadrant
liver<abdomen: liver
spleen<abdomen: spleen
kidney<abdomen: kidney
groin<trunk: groin inguinal
pelvis<trunk: pelvi pelvic
genital<pelvis: testicle testicular testi scrotum scrotal penis vagina vaginal ovary ovarian labia
buttock<trunk: buttock glute gluteal
arm<: arm upperlimb extremity
shoulder<arm: shoulder glenohumeral scapula deltoid clavicle rotator acromion
axilla<shoulder: axilla axillary armpit
biceps<arm: bicep tricep humerus
elbow<arm: elbow epicondyl epicondyle epicondyliti olecranon
forearm<arm: forearm radiu ulna
wrist<arm: wrist carpal scaphoid
hand<arm: hand palm metacarpal grip knuckle
finger<hand: finger thumb fingertip digit
leg<: leg extremity limb
hip<leg: hip trochanter trochanteric
thigh<leg: thigh quad quadricep hamstring femur hamstr
knee<leg: knee patella patellar meniscu kneecap meniscal
shin<leg: shin tibia calf calve tibial fibula
ankle<leg: ankle malleolu achille
foot<leg: foot feet heel plantar metatarsal sole
toe<foot: toe hallux
skin<: skin";

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let mut parts = Parts {
        of_word: HashMap::new(),
        within: HashMap::new(),
    };
    for line in TABLE.lines() {
        let Some((head, names)) = line.split_once(':') else {
            continue;
        };
        let (part, region) = head.split_once('<').unwrap_or((head, ""));
        if !region.is_empty() {
            parts.within.insert(part, region);
        }
        for word in names.split_whitespace() {
            parts.of_word.entry(word.to_owned()).or_insert(part);
            parts.of_word.entry(words::stem(word)).or_insert(part);
        }
    }
    parts
});

/// The part that a stem names.
pub(super) fn part(stem: &str) -> Option<&'static str> {
    PARTS.of_word.get(stem).copied()
}

/// Whether a mention of one can stand for the other: the same, or one within the other ("knee", "leg").
pub(super) fn fits(a: &str, b: &str) -> bool {
    let under = |mut x: &str, y: &str| {
        loop {
            if x == y {
                return true;
            }
            match PARTS.within.get(x) {
                Some(up) => x = up,
                None => return false,
            }
        }
    };
    under(a, b) || under(b, a)
}

/// Whether the word is general enough ("extremity", "limb") to fit any limb.
pub(super) fn general(stem: &str) -> bool {
    matches!(
        stem,
        "extremity"
            | "limb"
            | "skin"
            | "body"
            | "head"
            | "vision"
            | "oral"
            | "digit"
            | "grip"
            | "frontal"
            | "palm"
            | "sole"
            | "cranial"
            | "rib"
            | "coronary"
            | "ventricular"
            | "atrial"
            | "vaginal"
            | "vagina"
            | "ovarian"
            | "ovary"
    )
}
