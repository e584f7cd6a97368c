//! Runs the typesetter over the templates and fonts inside this program, and nothing else.

use serde::Serialize;
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Dict, Duration, IntoValue, Smart};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, Timestamp};

use crate::document::Document;
use crate::format::Moment;

const COMMON: (&str, &str) = ("common.typ", include_str!("../templates/common.typ"));
const INVOICE: (&str, &str) = ("invoice.typ", include_str!("../templates/invoice.typ"));
const RECEIPT: (&str, &str) = ("receipt.typ", include_str!("../templates/receipt.typ"));
const NOTE: (&str, &str) = ("note.typ", include_str!("../templates/note.typ"));

/// Subsets of Inter (OFL 1.1, see `fonts/LICENSE`): Latin with the letters of all South African languages, Greek and
/// Cyrillic.
const FONTS: [&[u8]; 2] = [
    include_bytes!("../fonts/Inter-Regular.ttf"),
    include_bytes!("../fonts/Inter-SemiBold.ttf"),
];

/// Typesets a document.
///
/// # Errors
/// What the typesetter says, on one line.
pub fn pdf(document: &Document) -> Result<Vec<u8>, String> {
    match document {
        Document::Invoice(invoice) => {
            typeset(INVOICE, invoice, &invoice.number, invoice.produced_at)
        }
        Document::Receipt(receipt) => {
            typeset(RECEIPT, receipt, &receipt.number, receipt.produced_at)
        }
        Document::Note(note) => typeset(NOTE, note, &note.title, note.produced_at),
    }
}

fn typeset(
    template: (&str, &str),
    data: &impl Serialize,
    name: &str,
    at: Moment,
) -> Result<Vec<u8>, String> {
    let json = serde_json::to_string(data).map_err(|error| error.to_string())?;
    let world = Shelf::new(template, json)?;
    let document: PagedDocument = typst::compile(&world)
        .output
        .map_err(|errors| told(&errors))?;
    let ident = format!("{} {name} {}", template.0, at.0);
    let options = PdfOptions {
        ident: Smart::Custom(ident),
        creator: Smart::Custom(Some("Hadada".to_owned())),
        timestamp: Some(timestamp(at).ok_or("the moment it was produced at is out of range")?),
        ..PdfOptions::default()
    };
    typst_pdf::pdf(&document, &options).map_err(|errors| told(&errors))
}

fn timestamp(at: Moment) -> Option<Timestamp> {
    let utc = at.0.to_zoned(jiff::tz::TimeZone::UTC);
    let part = |part: i8| u8::try_from(part).ok();
    let datetime = Datetime::from_ymd_hms(
        i32::from(utc.year()),
        part(utc.month())?,
        part(utc.day())?,
        part(utc.hour())?,
        part(utc.minute())?,
        part(utc.second())?,
    )?;
    Some(Timestamp::new_utc(datetime))
}

fn told(errors: &[SourceDiagnostic]) -> String {
    let messages: Vec<String> = errors
        .iter()
        .map(|error| error.message.replace("\n", " ").to_string())
        .collect();
    messages.join("; ")
}

/// The only files there are: the template and what it shares with the others.
struct Shelf {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    main: Source,
    common: Source,
}

impl Shelf {
    fn new(template: (&str, &str), json: String) -> Result<Self, String> {
        let source = |(name, text): (&str, &str)| {
            let path = VirtualPath::new(name).map_err(|error| error.to_string())?;
            let id = RootedPath::new(VirtualRoot::Project, path).intern();
            Ok::<_, String>(Source::new(id, text.to_owned()))
        };
        let mut inputs = Dict::new();
        inputs.insert("document".into(), json.into_value());
        let fonts: Vec<Font> = FONTS
            .iter()
            .flat_map(|font| Font::iter(Bytes::new(*font)))
            .collect();
        Ok(Self {
            library: LazyHash::new(Library::builder().with_inputs(inputs).build()),
            book: LazyHash::new(FontBook::from_fonts(&fonts)),
            fonts,
            main: source(template)?,
            common: source(COMMON)?,
        })
    }
}

impl World for Shelf {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.book
    }

    fn main(&self) -> FileId {
        self.main.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        [&self.main, &self.common]
            .into_iter()
            .find(|source| source.id() == id)
            .cloned()
            .ok_or(FileError::AccessDenied)
    }

    fn file(&self, _: FileId) -> FileResult<Bytes> {
        Err(FileError::AccessDenied)
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.get(index).cloned()
    }

    /// There is no today: a document's dates come from its data.
    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let world = Shelf::new(("test.typ", text), "{}".to_owned()).unwrap();
        told(&typst::compile::<PagedDocument>(&world).output.unwrap_err())
    }

    #[test]
    fn a_template_reaches_no_file_and_no_package() {
        for reach in [
            "#read(\"/etc/passwd\")",
            "#read(\"invoice.typ\")",
            "#include \"other.typ\"",
            "#image(\"logo.png\")",
        ] {
            assert!(
                refusal(reach).contains("access denied"),
                "{reach}: {}",
                refusal(reach)
            );
        }
        refusal("#import \"@preview/cetz:0.3.0\"");
        refusal("#datetime.today()");
    }
}
