//! Left, right, both.

use super::body;
use super::source::Source;
use super::tokens::Token;

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    Both,
}

#[derive(Debug, Clone)]
struct Mention {
    side: Side,
    at: usize,
    /// The part of the body that it belongs to, with the words' distance.
    part: Option<&'static str>,
}

const BEFORE_SIDE: &[&str] = &[
    "on",
    "his",
    "her",
    "my",
    "your",
    "the",
    "a",
    "to",
    "of",
    "in",
    "that",
    "this",
    "from",
    "chronic",
    "acute",
    "at",
    "and",
    "or",
    "with",
    "for",
    "no",
    "lateral",
    "mid",
    "bilateral",
    "left",
    "right",
    "is",
    "was",
    "toward",
    "towards",
];
/// "right now", "right after", "left over": no side.
const AFTER_NO_SIDE: &[&str] = &[
    "now", "away", "after", "before", "over", "when", "then", "there", "here", "where", "about",
    "okay", "for", "the", "around", "as", "home", "work", "because", "off", "him", "her", "me",
    "us", "my", "his", "alone", "behind", "so", "that", "it", "i", "we", "you", "up",
];

fn side_at(tokens: &[Token], i: usize, strict: bool) -> Option<Side> {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    let before = if i > 0 { text(i - 1) } else { "" };
    match text(i) {
        "bilateral" | "bilaterally" | "bilat" | "both" => {
            if text(i) == "both"
                && strict
                && !(i + 1..i + 5).any(|k| {
                    tokens.get(k).is_some_and(|t| {
                        body::part(&t.stem).is_some() || t.text == "side" || t.text == "sides"
                    })
                })
            {
                return None;
            }
            Some(Side::Both)
        }
        "lt" if body_near(tokens, i) => Some(Side::Left),
        "rt" if body_near(tokens, i) => Some(Side::Right),
        "l" | "r"
            if tokens[i].capital
                && before != "/"
                && (body_near(tokens, i)
                    || i + 1 == tokens.len()
                    || tokens.get(i + 1).is_some_and(Token::is_mark)
                    || tokens
                        .get(i + 1)
                        .is_some_and(|t| t.number.is_some() && before != "-"))
                && !tokens
                    .get(i + 1)
                    .is_some_and(|t| t.number.is_some() && t.text.len() == 1) =>
        {
            Some(if text(i) == "l" {
                Side::Left
            } else {
                Side::Right
            })
        }
        "left" | "lefthand" => sided(tokens, i, before, strict).then_some(Side::Left),
        "right" | "righthand" => sided(tokens, i, before, strict).then_some(Side::Right),
        _ => None,
    }
}

fn body_near(tokens: &[Token], i: usize) -> bool {
    (i + 1..i + 4)
        .chain(i.saturating_sub(2)..i)
        .any(|k| tokens.get(k).is_some_and(|t| body::part(&t.stem).is_some()))
}

fn sided(tokens: &[Token], i: usize, before: &str, strict: bool) -> bool {
    let text = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    // "right worse than left"
    if matches!(text(i + 1), "worse" | "greater" | "more" | "less") && text(i + 2) == "than"
        || before == "than"
            && matches!(
                text(i.wrapping_sub(2)),
                "worse" | "greater" | "more" | "less"
            )
    {
        return true;
    }
    if matches!(
        before,
        "all"
            | "'s"
            | "that"
            | "you're"
            | "i"
            | "he"
            | "she"
            | "we"
            | "they"
            | "feel"
            | "quite"
            | "not"
    ) || (before == "just" && text(i) == "right")
    {
        return false;
    }
    let follows_part = (i + 1..i + 5)
        .take_while(|k| {
            !tokens
                .get(*k)
                .is_some_and(|t| matches!(t.text.as_str(), "." | "," | "?" | "and" | "but"))
        })
        .any(|k| {
            tokens.get(k).is_some_and(|t| {
                body::part(&t.stem).is_some()
                    || matches!(
                        t.text.as_str(),
                        "side"
                            | "sided"
                            | "lateral"
                            | "handed"
                            | "upper"
                            | "lower"
                            | "hand"
                            | "middle"
                            | "inner"
                            | "outer"
                            | "ventricular"
                            | "atrial"
                    )
            })
        });
    if follows_part {
        return true;
    }
    if AFTER_NO_SIDE.contains(&text(i + 1)) && text(i + 1) != "for" {
        return false;
    }
    let closed = i + 1 >= tokens.len()
        || tokens[i + 1].is_mark()
        || matches!(
            text(i + 1),
            "and" | "or" | "more" | "greater" | "than" | "worse" | "is" | "was" | "one"
        );
    if strict {
        BEFORE_SIDE.contains(&before) || body_near(tokens, i) || !closed
    } else {
        BEFORE_SIDE.contains(&before) || body_near(tokens, i)
    }
}

fn mentions(tokens: &[Token], strict: bool) -> Vec<Mention> {
    // "it's not the right knee, it's the left one"
    let denied = |at: usize| {
        tokens[at.saturating_sub(3)..at]
            .iter()
            .any(|t| t.text == "not")
    };
    (0..tokens.len())
        .filter(|at| strict || !denied(*at))
        .filter_map(|at| {
            side_at(tokens, at, strict).map(|side| Mention {
                side,
                at,
                part: anchor(tokens, at),
            })
        })
        .collect()
}

/// Sides that a text names, for retrieval.
pub(super) fn named(tokens: &[Token]) -> impl Iterator<Item = &'static str> {
    mentions(tokens, false)
        .into_iter()
        .map(|m| ["left", "right", "both"][m.side as usize])
}

/// The nearest part of the body: within five words after, else eight before, in the same clause.
fn anchor(tokens: &[Token], at: usize) -> Option<&'static str> {
    let stop = |t: &Token| matches!(t.text.as_str(), "." | ";" | "?" | "but");
    let after = tokens[at + 1..]
        .iter()
        .take(6)
        .take_while(|t| !stop(t) && t.text != "and" && t.text != ",")
        .filter(|t| !body::general(&t.stem))
        .find_map(|t| body::part(&t.stem));
    after.or_else(|| {
        tokens[..at]
            .iter()
            .rev()
            .take(10)
            .take_while(|t| !stop(t))
            .filter(|t| !body::general(&t.stem))
            .find_map(|t| body::part(&t.stem))
    })
}

/// Further parts that share a side: "left hip pain and shoulder pain".
fn shared(tokens: &[Token], mention: &Mention) -> Vec<&'static str> {
    let mut joined = false;
    let mut out = Vec::new();
    for (k, token) in tokens.iter().enumerate().skip(mention.at + 1).take(8) {
        if matches!(token.text.as_str(), "." | ";" | "?" | "but" | "so" | "okay")
            || side_at(tokens, k, false).is_some()
        {
            break;
        }
        joined |= token.text == "and";
        if let Some(part) = body::part(&token.stem)
            .filter(|p| joined && mention.part != Some(*p) && !body::general(&token.stem))
        {
            out.push(part);
        }
    }
    out
}

/// Sides named in the sentence that the source doesn't give to that part of the body.
pub(super) fn missing(sentence: &[Token], source: &Source) -> Vec<String> {
    let mine = mentions(sentence, true);
    if mine.is_empty() {
        return Vec::new();
    }
    // A mention without a part of its own takes the last one named before it ("Which knee?" "The right one.").
    let mut theirs: Vec<Mention> = Vec::new();
    let mut recent: Option<(&'static str, usize)> = None;
    for (i, unit) in source.units.iter().enumerate() {
        for (mut mention, more) in mentions(&unit.tokens, false).into_iter().map(|m| {
            let more = shared(&unit.tokens, &m);
            (m, more)
        }) {
            if mention.part.is_none() {
                mention.part = recent.filter(|(_, at)| i - at <= 3).map(|(p, _)| p);
            }
            mention.at = i;
            theirs.extend(more.into_iter().map(|part| Mention {
                part: Some(part),
                ..mention.clone()
            }));
            theirs.push(mention);
        }
        if let Some(part) = unit
            .tokens
            .iter()
            .rev()
            .filter(|t| !body::general(&t.stem))
            .find_map(|t| body::part(&t.stem))
        {
            recent = Some((part, i));
        }
    }
    let near = super::source::stems(sentence);
    let mut out = Vec::new();
    for mention in mine {
        let fits = |m: &&Mention| match (mention.part, m.part) {
            (Some(a), Some(b)) => body::fits(a, b),
            // "on the right", long after any part was named: only beside the sentence's own words.
            (Some(_), None) => source.nearness(&near, m.at) >= BESIDE,
            _ => true,
        };
        let of_part: Vec<&Mention> = theirs.iter().filter(fits).collect();
        let ok = match mention.side {
            Side::Both => {
                of_part.iter().any(|m| m.side == Side::Both)
                    || (of_part.iter().any(|m| m.side == Side::Left)
                        && of_part.iter().any(|m| m.side == Side::Right))
                    || mention
                        .part
                        .is_some_and(|p| named_plural(source, p, of_part.is_empty()))
            }
            side => {
                let support = |of: &dyn Fn(&Mention) -> bool| {
                    let mine: Vec<f64> = of_part
                        .iter()
                        .filter(|m| of(m))
                        .map(|m| {
                            source.nearness(&near, m.at)
                                + if m.part == mention.part { 0.5 } else { 0.0 }
                        })
                        .collect();
                    (
                        mine.len(),
                        mine.iter().copied().fold(0.0, f64::max) + OFTEN * mine.len().min(4) as f64,
                    )
                };
                let same = support(&|m| m.side == side);
                let other = support(&|m| m.side != side && m.side != Side::Both);
                let both = support(&|m| {
                    m.side == Side::Both && (m.part == mention.part || mention.part.is_none())
                });
                let one_of_two = both.0 > 0 && both.1 > same.1;
                // Both sides occur: the one said nearer to this sentence's words, and more often, counts.
                same.0 > 0 && !one_of_two && (other.0 == 0 || same.1 >= other.1 - 1e-9)
            }
        };
        if !ok || contradicts_itself(sentence, &mention) {
            out.push(sentence[mention.at].text.clone());
        }
    }
    out
}

/// Parts that come in pairs: one side has one of them.
const PAIRED: &[&str] = &[
    "hands",
    "feet",
    "knees",
    "legs",
    "arms",
    "shoulders",
    "hips",
    "ankles",
    "wrists",
    "elbows",
    "eyes",
    "ears",
    "extremities",
    "lungs",
    "thighs",
    "calves",
    "limbs",
];

/// "the left hands", "right worse than right": such a side can't be true whatever the source says.
fn contradicts_itself(tokens: &[Token], mention: &Mention) -> bool {
    if mention.side == Side::Both {
        return false;
    }
    let clause = || {
        tokens[mention.at + 1..]
            .iter()
            .take(5)
            .take_while(|t| !t.is_mark() && t.text != "and")
    };
    let plural = clause().take(3).any(|t| {
        PAIRED.contains(&t.text.as_str()) || (t.plural && matches!(t.text.as_str(), "arm" | "leg"))
    });
    let than = clause().position(|t| t.text == "than").is_some_and(|k| {
        tokens[mention.at + 1 + k..]
            .iter()
            .take(4)
            .any(|t| t.text == tokens[mention.at].text)
    });
    plural || than || twice(tokens, mention.at)
}

/// "4/5 on the right and 5/5 on the right", "left and left rotation": what is told apart by its side has two.
fn twice(tokens: &[Token], at: usize) -> bool {
    let side = &tokens[at].text;
    let ends = |k: usize| tokens.get(k).is_none_or(|t| t.is_mark() || t.text == "and");
    let own = |k: usize| {
        tokens[k].text == *side
            && ends(k + 1)
            && k > 1
            && tokens[k - 1].text == "the"
            && matches!(tokens[k - 2].text.as_str(), "on" | "to" | "from")
    };
    let next = |k: usize| tokens.get(k).map_or("", |t| t.text.as_str());
    (own(at)
        && tokens[at + 1..]
            .iter()
            .take_while(|t| !matches!(t.text.as_str(), "." | ";"))
            .enumerate()
            .any(|(k, _)| own(at + 1 + k)))
        || (next(at + 1) == "and" && next(at + 2) == side)
}

/// Overlap that a side without a part of its own must have with the sentence.
const BESIDE: f64 = 1.0;

/// What each further mention of a side adds to its nearest one.
const OFTEN: f64 = 0.35;

/// "your lungs sound clear": paired parts in the plural stand for both; `loosely`, a part within or around it too.
fn named_plural(source: &Source, part: &str, loosely: bool) -> bool {
    source.units.iter().flat_map(|u| &u.tokens).any(|t| {
        ((t.text.ends_with('s') || t.text == "feet")
            && body::part(&t.stem).is_some_and(|p| p == part || loosely && body::fits(p, part)))
            || loosely && matches!(t.text.as_str(), "each" | "either" | "both" | "sides")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tokens::read;
    use super::*;

    fn wrong(sentence: &str, source: &[&str]) -> bool {
        !missing(&read(sentence), &Source::read(source)).is_empty()
    }

    #[test]
    fn a_swapped_side_shows() {
        assert!(wrong("Pain in the left knee.", &["my right knee hurts"]));
        assert!(!wrong("Pain in the right knee.", &["my right knee hurts"]));
        assert!(wrong("R shoulder stiff.", &["L shoulder stiff"]));
        assert!(!wrong("Right shoulder stiff.", &["R shoulder stiff"]));
        assert!(wrong("Left knee pain.", &["both knees hurt"]));
        assert!(!wrong("Bilateral knee pain.", &["both knees hurt"]));
        assert!(wrong("Bilateral knee pain.", &["right knee sore"]));
    }

    #[test]
    fn each_part_has_its_own_side() {
        let source = &["right knee swollen", "left ankle stiff"];
        assert!(wrong("Left knee swollen.", source));
        assert!(!wrong("Left ankle stiff.", source));
    }

    #[test]
    fn right_and_left_that_are_no_sides_are_passed_over() {
        assert!(!wrong("He left the hospital.", &["she went home"]));
        assert!(wrong(
            "Left hip pain.",
            &["all right, the right hip hurts right now"]
        ));
    }
}
