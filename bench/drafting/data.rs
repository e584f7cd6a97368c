//! Reads MTS-Dialog (CSV) and ACI-BENCH (JSON), and labels note sentences S, O, A, P by their section.
//!
//! The labelling rules are the same as in `train.py`: history and review of systems are S; vitals, examination and
//! results O; assessment and plan A or P where a heading or sub-heading says which ("medical reasoning" A;
//! treatment, testing, referral, education, follow-up P), else "A or P".

use std::path::Path;

/// A sentence's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    S,
    O,
    A,
    P,
    /// Assessment or plan, and nothing says which.
    AorP,
}

/// One dialogue with the sentences of its note.
pub struct Case {
    pub id: String,
    pub dialogue: String,
    pub sentences: Vec<(String, Option<Label>)>,
}

/// Reads either form; which one is told by the first character.
pub fn load(path: &Path) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path)?;
    if text.trim_start().starts_with('{') {
        aci(&text)
    } else {
        mts(&text)
    }
}

fn aci(text: &str) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    #[derive(serde::Deserialize)]
    struct File {
        data: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        src: String,
        tgt: String,
        #[serde(default)]
        file: String,
    }
    let file: File = serde_json::from_str(text)?;
    Ok(file
        .data
        .into_iter()
        .enumerate()
        .map(|(i, r)| Case {
            id: if r.file.is_empty() {
                i.to_string()
            } else {
                r.file
            },
            sentences: note_sentences(&r.tgt),
            dialogue: r.src,
        })
        .collect())
}

fn mts(text: &str) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    #[derive(serde::Deserialize)]
    struct Row {
        #[serde(rename = "ID")]
        id: String,
        section_header: String,
        section_text: String,
        dialogue: String,
    }
    let mut out = Vec::new();
    for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
        let row: Row = row?;
        let label = match row.section_header.trim() {
            "GENHX" | "FAM/SOCHX" | "PASTMEDICALHX" | "CC" | "PASTSURGICAL" | "ALLERGY" | "ROS"
            | "MEDICATIONS" | "IMMUNIZATIONS" | "GYNHX" | "OTHER_HISTORY" => Some(Label::S),
            "EXAM" | "IMAGING" | "LABS" => Some(Label::O),
            "ASSESSMENT" | "DIAGNOSIS" => Some(Label::A),
            "PLAN" | "DISPOSITION" => Some(Label::P),
            _ => None,
        };
        out.push(Case {
            id: row.id,
            sentences: sentences(&row.section_text.replace('\n', " "))
                .into_iter()
                .map(|s| (s, label))
                .collect(),
            dialogue: row.dialogue,
        });
    }
    Ok(out)
}

/// What a heading line opens: a class, or a section that has none.
fn section(line: &str) -> Option<Option<Label>> {
    let head = line.trim().trim_end_matches(':').trim();
    let upper = !head.is_empty()
        && head
            .chars()
            .all(|c| c.is_ascii_uppercase() || " /&,()-".contains(c));
    let low = head.to_lowercase();
    if !upper
        && !matches!(
            low.as_str(),
            "result" | "results" | "assessment" | "plan" | "physical exam" | "physical examination"
        )
    {
        return None;
    }
    let label = match low.as_str() {
        "assessment and plan" | "assessment & plan" => Label::AorP,
        "assessment" | "impression" | "diagnosis" => Label::A,
        "plan" | "instructions" | "follow up" | "follow-up" | "followup" => Label::P,
        "vitals"
        | "vitals reviewed"
        | "physical exam"
        | "physical examination"
        | "exam"
        | "examination"
        | "result"
        | "results"
        | "labs"
        | "imaging" => Label::O,
        "history of present illness"
        | "hpi"
        | "cc"
        | "chief complaint"
        | "review of systems"
        | "ros"
        | "medications"
        | "current medications"
        | "allergies"
        | "social"
        | "family" => Label::S,
        other if other.ends_with("history") => Label::S,
        _ => return (upper && head.len() > 3 && !line.trim().ends_with(':')).then_some(None),
    };
    Some(Some(label))
}

const SUBHEADINGS: &[(&str, Label)] = &[
    ("medical reasoning", Label::A),
    ("medical treatment", Label::P),
    ("additional testing", Label::P),
    ("specialist referrals", Label::P),
    ("specialist referral", Label::P),
    ("patient education and counseling", Label::P),
    ("patient education", Label::P),
    ("follow-up", Label::P),
    ("follow up", Label::P),
    ("patient agreements", Label::AorP),
    ("patient agreement", Label::AorP),
];

fn note_sentences(note: &str) -> Vec<(String, Option<Label>)> {
    let mut label = None;
    let mut out = Vec::new();
    for line in note.lines().filter(|l| !l.trim().is_empty()) {
        if let Some(found) = section(line) {
            label = found;
            continue;
        }
        let Some(of_section) = label else { continue };
        let body = without_bullet(line);
        let mut here = of_section;
        let mut rest = body;
        let subdivided = matches!(of_section, Label::A | Label::P | Label::AorP);
        while let Some((at, len, next)) = subdivided.then(|| subheading(rest)).flatten() {
            push(&rest[..at], here, &mut out);
            here = next;
            rest = &rest[at + len..];
        }
        push(rest, here, &mut out);
    }
    out
}

/// Where the first subheading stands in `text`, how long it is with its colon, and what it opens.
fn subheading(text: &str) -> Option<(usize, usize, Label)> {
    let low = text.to_ascii_lowercase();
    SUBHEADINGS
        .iter()
        .filter_map(|(h, l)| low.find(&format!("{h}:")).map(|at| (at, h.len() + 1, *l)))
        .min_by_key(|(at, len, _)| (*at, usize::MAX - len))
}

fn push(text: &str, label: Label, out: &mut Vec<(String, Option<Label>)>) {
    out.extend(
        sentences(text.trim_matches([' ', '-', '•']))
            .into_iter()
            .map(|s| (s, Some(label))),
    );
}

fn without_bullet(line: &str) -> &str {
    let line = line.trim();
    let bare = line.trim_start_matches(['•', '*', '-', '–']);
    if bare.len() < line.len() {
        return bare.trim_start();
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0
        && matches!(line.as_bytes().get(digits), Some(b'.' | b')'))
        && line.as_bytes().get(digits + 1).is_none_or(|b| *b == b' ')
    {
        line[digits + 1..].trim_start()
    } else {
        line
    }
}

/// Sentences of running text, without those that hold fewer than three letters.
pub fn sentences(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut current = String::new();
    for word in text.split_whitespace() {
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
        let stem = word.trim_end_matches('.');
        let abbreviation = word.ends_with('.')
            && (matches!(
                stem,
                "Dr" | "Mr" | "Mrs" | "Ms" | "St" | "vs" | "approx" | "e.g" | "i.e" | "No"
            ) || (stem.len() == 1 && stem.chars().all(|c| c.is_ascii_uppercase())));
        if word.ends_with(['.', '?', '!']) && !abbreviation {
            out.push(std::mem::take(&mut current));
        }
    }
    out.push(current);
    out.retain(|s| s.chars().filter(|c| c.is_ascii_alphabetic()).count() >= 3);
    out
}
