//! What the visit's pages show: typed structs for the templates, with samples.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::draft::{count, head};
use super::draft_store::{Draft, Left};
use super::note::{Decision, Note};
use super::trend::{Latest, Trend};
use crate::drafting::{DraftSentence, FlagKind, Section, Statement};
use crate::patients::Banner;
use crate::web::{Page, Shell};

/// A section of the note.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SectionView {
    key: &'static str,
    label: &'static str,
    hint: &'static str,
}

pub(super) const SECTIONS: [SectionView; 4] = [
    SectionView {
        key: "subjective",
        label: "Subjective",
        hint: "What the patient tells you",
    },
    SectionView {
        key: "objective",
        label: "Objective",
        hint: "What you measured and did",
    },
    SectionView {
        key: "assessment",
        label: "Assessment",
        hint: "What it means",
    },
    SectionView {
        key: "plan",
        label: "Plan",
        hint: "What happens next",
    },
];

/// A section as the page names it.
pub(super) fn section_key(section: Section) -> &'static str {
    match section {
        Section::Subjective => "subjective",
        Section::Objective => "objective",
        Section::Assessment => "assessment",
        Section::Plan => "plan",
    }
}

/// One of the clinician's own statements, for `components/draft.html`.
#[derive(Debug, Serialize)]
pub(super) struct StatementView {
    id: u32,
    text: String,
}

/// A drafted sentence, for `components/draft.html`.
#[derive(Debug, Serialize)]
pub(super) struct SentenceView {
    id: usize,
    section: &'static str,
    text: String,
    sources: Vec<u32>,
    state: &'static str,
    why: Vec<String>,
}

/// A statement that is not in the draft, for `components/draft.html`.
#[derive(Debug, Serialize)]
pub(super) struct UnusedView {
    id: u32,
    text: String,
    section: &'static str,
    section_label: &'static str,
    why: &'static str,
}

impl StatementView {
    pub(super) fn new(statement: &Statement) -> Self {
        Self {
            id: statement.number,
            text: statement.text.clone(),
        }
    }
}

impl SentenceView {
    /// `decision` is what the clinician did with it.
    pub(super) fn new(number: usize, sentence: &DraftSentence, decision: Option<Decision>) -> Self {
        let clean = sentence.flags.is_empty() && !sentence.sources.is_empty();
        Self {
            id: number,
            section: section_key(sentence.section),
            text: sentence.text.clone(),
            sources: sentence.sources.clone(),
            state: match decision {
                Some(Decision::Used) => "used",
                Some(Decision::Kept) => "kept",
                _ if clean => "ready",
                _ => "warn",
            },
            // Without a source the page has its own words.
            why: sentence
                .flags
                .iter()
                .filter(|f| f.kind != FlagKind::Unsourced)
                .map(|f| f.message.clone())
                .collect(),
        }
    }
}

impl UnusedView {
    pub(super) fn new(left: &Left, text: String) -> Self {
        Self {
            id: left.number,
            text,
            section: "subjective",
            section_label: "Subjective",
            why: left.reason.message(),
        }
    }
}

/// `encounters/sentence.html`: one event of the stream.
#[derive(Debug, Serialize)]
pub(super) struct SentencePart {
    pub(super) sentence: SentenceView,
}

/// `encounters/statements.html`: one event of the stream.
#[derive(Debug, Serialize)]
pub(super) struct StatementsPart {
    pub(super) statements: Vec<StatementView>,
}

/// `encounters/unused.html`: one event of the stream.
#[derive(Debug, Serialize)]
pub(super) struct UnusedPart {
    pub(super) unused: UnusedView,
}

/// The draft panel of the page.
#[derive(Debug, Serialize)]
pub(super) struct DraftView {
    id: String,
    head: String,
    say: String,
    done: bool,
    why: Option<String>,
    statements: Vec<StatementView>,
    sentences: Vec<SentenceView>,
    unused: Vec<UnusedView>,
}

impl DraftView {
    /// Before the first draft.
    pub(super) fn none(ai_ready: bool) -> Self {
        let head = if ai_ready {
            "Write your lines, then press Draft. It is written on this server and nothing leaves the building."
        } else {
            "The drafting model is not running. Write the note yourself; everything else works."
        };
        Self {
            id: String::new(),
            head: head.into(),
            say: String::new(),
            done: false,
            why: None,
            statements: Vec::new(),
            sentences: Vec::new(),
            unused: Vec::new(),
        }
    }

    /// The newest draft, with what the clinician decided about its sentences.
    pub(super) fn of(draft: Draft, note: &Note) -> Self {
        let mine = note.draft_id == Some(draft.id.0);
        let decision = |number: usize| {
            note.decisions
                .get(&number.to_string())
                .copied()
                .filter(|_| mine)
        };
        let body = draft.body;
        let text_of = |number: u32| {
            body.statements
                .iter()
                .find(|s| s.number == number)
                .map(|s| s.text.clone())
                .unwrap_or_default()
        };
        let done = draft.status == "done";
        Self {
            id: draft.id.to_string(),
            head: match draft.status.as_str() {
                "done" if note.source_text != body.source_text => {
                    "Your lines have changed since this draft. Draft again to take them in.".into()
                }
                "done" => head(u64::try_from(draft.seconds).unwrap_or_default()),
                "refused" => "Nothing was drafted.".into(),
                "stopped" => "Stopped. What was written stays.".into(),
                _ => "The draft stopped.".into(),
            },
            say: if done { count(&body) } else { String::new() },
            done,
            why: body.why.clone(),
            sentences: body
                .sentences
                .iter()
                .enumerate()
                .map(|(i, s)| (i + 1, s))
                .filter(|&(n, _)| decision(n) != Some(Decision::Removed))
                .map(|(n, s)| SentenceView::new(n, s, decision(n)))
                .collect(),
            unused: body
                .unused
                .iter()
                .map(|u| UnusedView::new(u, text_of(u.number)))
                .collect(),
            statements: if body.sentences.is_empty() {
                Vec::new()
            } else {
                body.statements.iter().map(StatementView::new).collect()
            },
        }
    }
}

/// A visit in the timeline.
#[derive(Debug, Serialize)]
pub(super) struct TimelineItem {
    pub(super) href: String,
    pub(super) state: &'static str,
    pub(super) icon: &'static str,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) date: String,
}

/// An addendum, open.
#[derive(Debug, Serialize)]
pub(super) struct AddendumView {
    pub(super) text: String,
    pub(super) by: String,
    pub(super) at: String,
}

/// The visit's own words on the page.
#[derive(Debug, Serialize)]
pub(super) struct VisitView {
    pub(super) id: String,
    pub(super) patient_id: String,
    pub(super) title: String,
    pub(super) when: String,
    /// `draft`, `signed`, or `read` for somebody else's note that is not signed yet.
    pub(super) state: &'static str,
    pub(super) practitioner: String,
    pub(super) signed: Option<String>,
}

/// The trend section; replaced after a score was added.
#[derive(Debug, Serialize)]
pub(super) struct Trends {
    pub(super) encounter: String,
    pub(super) may_add: bool,
    pub(super) chart: Option<Trend>,
    pub(super) latest: Vec<Latest>,
}

/// `encounters/visit.html`.
#[derive(Debug, Serialize)]
pub(super) struct VisitPage {
    pub(super) shell: Shell,
    pub(super) local_key: String,
    pub(super) patient: Banner,
    pub(super) visit: VisitView,
    pub(super) note: Note,
    pub(super) version: i32,
    pub(super) saved: String,
    pub(super) sections: [SectionView; 4],
    pub(super) draft: DraftView,
    pub(super) timeline: Vec<TimelineItem>,
    pub(super) trends: Trends,
    pub(super) addenda: Vec<AddendumView>,
    pub(super) may_add: bool,
    pub(super) addendum_key: Uuid,
    pub(super) addendum_text: String,
    pub(super) errors: BTreeMap<String, String>,
}

/// `encounters/print.html`.
#[derive(Debug, Serialize)]
pub(super) struct PrintPage {
    pub(super) shell: Shell,
    pub(super) patient: Banner,
    pub(super) visit: VisitView,
    pub(super) note: Note,
    pub(super) sections: [SectionView; 4],
    pub(super) addenda: Vec<AddendumView>,
    pub(super) practice: String,
    pub(super) printed: String,
}

/// A note in the list of those that wait for their signature.
#[derive(Debug, Serialize)]
pub(super) struct UnsignedRow {
    pub(super) href: String,
    pub(super) patient: String,
    pub(super) file_number: String,
    pub(super) session: String,
    pub(super) when: String,
    pub(super) saved: String,
}

/// `encounters/notes.html`.
#[derive(Debug, Serialize)]
pub(super) struct NotesPage {
    pub(super) shell: Shell,
    pub(super) rows: Vec<UnsignedRow>,
    pub(super) treats: bool,
}

/// `encounters/trends.html`.
#[derive(Debug, Serialize)]
pub(super) struct TrendsPart {
    pub(super) trends: Trends,
}

fn sample_visit(state: &'static str) -> VisitView {
    VisitView {
        id: Uuid::nil().to_string(),
        patient_id: Uuid::nil().to_string(),
        title: "Visit 7".into(),
        when: "24-Nov-2026, 10:00 · Follow-up".into(),
        state,
        practitioner: "Naledi Mokoena".into(),
        signed: (state == "signed").then(|| "Signed by Naledi Mokoena, 24-Nov-2026 10:58.".into()),
    }
}

fn sample_sentence(number: usize, sources: &[u32]) -> SentenceView {
    let state = if sources.is_empty() { "warn" } else { "ready" };
    SentenceView {
        id: number,
        section: "objective",
        text: "Knee flexion 118°.".into(),
        sources: sources.to_vec(),
        state,
        why: Vec::new(),
    }
}

fn sample_trends() -> Trends {
    let (chart, latest) = Trend::sample();
    Trends {
        encounter: Uuid::nil().to_string(),
        may_add: true,
        chart,
        latest,
    }
}

fn sample_addenda() -> Vec<AddendumView> {
    vec![AddendumView {
        text: "Spoke to the surgeon.".into(),
        by: "Naledi Mokoena".into(),
        at: "25-Nov-2026 08:10".into(),
    }]
}

impl Page for VisitPage {
    const TEMPLATE: &'static str = "encounters/visit.html";
    fn samples() -> Vec<Self> {
        let page = |state: &'static str, draft: DraftView| Self {
            shell: Shell::sample(),
            local_key: "AAAA".into(),
            patient: Banner::sample(),
            visit: sample_visit(state),
            note: Note {
                source_text: "flexion 118".into(),
                ..Note::default()
            },
            version: 3,
            saved: "Saved 10:41".into(),
            sections: SECTIONS,
            draft,
            timeline: vec![TimelineItem {
                href: "/encounters/1".into(),
                state: "current",
                icon: "pen-line",
                title: "Visit 7".into(),
                text: String::new(),
                date: "24-Nov".into(),
            }],
            trends: sample_trends(),
            addenda: if state == "signed" {
                sample_addenda()
            } else {
                Vec::new()
            },
            may_add: true,
            addendum_key: Uuid::nil(),
            addendum_text: String::new(),
            errors: BTreeMap::new(),
        };
        let drafted = DraftView {
            id: Uuid::nil().to_string(),
            head: head(7),
            done: true,
            statements: vec![StatementView {
                id: 1,
                text: "flexion 118".into(),
            }],
            sentences: vec![sample_sentence(1, &[1]), sample_sentence(2, &[])],
            unused: vec![UnusedView {
                id: 2,
                text: "nice weather".into(),
                section: "subjective",
                section_label: "Subjective",
                why: "Small talk.",
            }],
            ..DraftView::none(true)
        };
        let refused = DraftView {
            why: Some("There is nothing to draft from: the text is empty.".into()),
            ..DraftView::none(true)
        };
        let mut wrong = page("signed", DraftView::none(true));
        wrong.errors.insert(
            "text".into(),
            "The addendum is empty. Write what you want to add.".into(),
        );
        let mut bare = page("draft", DraftView::none(false));
        bare.trends = Trends {
            encounter: String::new(),
            may_add: false,
            chart: None,
            latest: Vec::new(),
        };
        vec![
            page("draft", drafted),
            page("draft", refused),
            bare,
            page("signed", DraftView::none(true)),
            page("read", DraftView::none(true)),
            wrong,
        ]
    }
}

impl Page for PrintPage {
    const TEMPLATE: &'static str = "encounters/print.html";
    fn samples() -> Vec<Self> {
        let page = |state| Self {
            shell: Shell::sample(),
            patient: Banner::sample(),
            visit: sample_visit(state),
            note: Note {
                plan: "Ice.".into(),
                ..Note::default()
            },
            sections: SECTIONS,
            addenda: sample_addenda(),
            practice: "Rosebank Rehab".into(),
            printed: "24-Nov-2026 11:02".into(),
        };
        vec![page("signed"), page("draft")]
    }
}

impl Page for NotesPage {
    const TEMPLATE: &'static str = "encounters/notes.html";
    fn samples() -> Vec<Self> {
        let row = || UnsignedRow {
            href: "/encounters/1".into(),
            patient: "KHUMALO, Thandiwe".into(),
            file_number: "H-00482".into(),
            session: "Follow-up".into(),
            when: "24-Nov-2026 10:00".into(),
            saved: "24-Nov-2026 10:41".into(),
        };
        vec![
            Self {
                shell: Shell::sample(),
                rows: vec![row()],
                treats: true,
            },
            Self {
                shell: Shell::sample(),
                rows: Vec::new(),
                treats: true,
            },
            Self {
                shell: Shell::sample(),
                rows: Vec::new(),
                treats: false,
            },
        ]
    }
}

impl Page for TrendsPart {
    const TEMPLATE: &'static str = "encounters/trends.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            trends: sample_trends(),
        }]
    }
}

impl Page for SentencePart {
    const TEMPLATE: &'static str = "encounters/sentence.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            sentence: sample_sentence(1, &[1, 2]),
        }]
    }
}

impl Page for StatementsPart {
    const TEMPLATE: &'static str = "encounters/statements.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            statements: vec![StatementView {
                id: 1,
                text: "flexion 118".into(),
            }],
        }]
    }
}

impl Page for UnusedPart {
    const TEMPLATE: &'static str = "encounters/unused.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            unused: UnusedView {
                id: 2,
                text: "nice weather".into(),
                section: "subjective",
                section_label: "Subjective",
                why: "Small talk.",
            },
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_renders_and_escapes() {
        fn all<P: Page>(templates: &crate::web::Templates) -> Vec<String> {
            P::samples()
                .iter()
                .map(|p| {
                    templates
                        .render(p)
                        .unwrap_or_else(|e| panic!("{}: {e:?}", P::TEMPLATE))
                })
                .collect()
        }
        let templates = crate::web::Templates::new(&[crate::encounters::TEMPLATES]).unwrap();
        let pages = all::<VisitPage>(&templates);
        assert!(
            pages[0].contains("data-state=\"warn\""),
            "a sentence without a source is amber"
        );
        assert!(
            pages[3].contains("Signed by Naledi Mokoena") && !pages[3].contains("id=\"note\""),
            "a signed note has no form"
        );
        assert!(
            !pages[4].contains("id=\"note\""),
            "somebody else's note has no form"
        );
        let hostile = StatementsPart {
            statements: vec![StatementView {
                id: 1,
                text: "<img src=x onerror=alert(1)>".into(),
            }],
        };
        assert!(!templates.render(&hostile).unwrap().contains("<img"));
    }
}
