//! What can be wrong with a log, each told as one sentence.

use thiserror::Error;
use uuid::Uuid;

/// The first thing found wrong. Positions count from 0 within a seal, lines from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Finding {
    /// A line is not of this format.
    #[error("line {line} can't be read: {reason}")]
    Unreadable {
        /// The line's number.
        line: u64,
        /// Why.
        reason: String,
    },
    /// A line stands where the format doesn't allow it.
    #[error("line {line} is out of place: {reason}")]
    OutOfPlace {
        /// The line's number.
        line: u64,
        /// What was expected.
        reason: &'static str,
    },
    /// The export names another box's key than the trusted one.
    #[error("wrong key: the export is signed with key {export}, but the key to trust is {trusted}")]
    WrongKey {
        /// The export's key, in hex.
        export: String,
        /// The trusted key, in hex.
        trusted: String,
    },
    /// A seal was edited, or signed by somebody else.
    #[error("seal {seq} was changed: its signature does not match its content")]
    SealEdited {
        /// The seal's number.
        seq: i64,
    },
    /// A seal is not there.
    #[error("seal {seq} is missing: seal {found} follows seal {before}")]
    SealMissing {
        /// The first missing number.
        seq: i64,
        /// The last seal before the gap; 0 at the start.
        before: i64,
        /// The seal found instead.
        found: i64,
    },
    /// A seal is there twice or after a later one.
    #[error("seal {seq} is out of order: it comes again or after seal {before}")]
    SealMoved {
        /// The seal's number.
        seq: i64,
        /// The seal before it.
        before: i64,
    },
    /// A seal is signed but doesn't follow from the one before: the one before was replaced, or the log forked.
    #[error("seal {seq} does not continue seal {before}: one of them was replaced")]
    SealUnlinked {
        /// The seal's number.
        seq: i64,
        /// The seal before it.
        before: i64,
    },
    /// A seal is not the one known from outside the database.
    #[error(
        "seal {seq} is not the one recorded outside the database: the log was rewritten up to there"
    )]
    SealReplaced {
        /// The seal's number.
        seq: i64,
    },
    /// An event's fields were changed after it was sealed.
    #[error("event {id} was edited: seal {seal}, position {position}")]
    EventEdited {
        /// The event.
        id: Uuid,
        /// Its seal.
        seal: i64,
        /// Its place in the seal.
        position: i32,
    },
    /// A sealed event was deleted; its leaf still names it.
    #[error("event {id} is missing: seal {seal}, position {position}")]
    EventMissing {
        /// The event.
        id: Uuid,
        /// Its seal.
        seal: i64,
        /// Its place in the seal.
        position: i32,
    },
    /// Both an event's leaf and its link to the event are gone, so only its place is known.
    #[error(
        "the event at position {position} of seal {seal} is missing: the seal covers {count} events"
    )]
    LeafMissing {
        /// The seal.
        seal: i64,
        /// The first empty place in it.
        position: i32,
        /// Events the seal covers.
        count: i32,
    },
    /// An event stands at a place that is not its own.
    #[error(
        "event {id} was moved: it stands at position {position} of seal {seal} and does not belong there"
    )]
    EventMoved {
        /// The event.
        id: Uuid,
        /// The seal it was found in.
        seal: i64,
        /// The place it was found at.
        position: i32,
    },
    /// An event stands in the log twice.
    #[error("event {id} is in the log twice: the second time at line {line}")]
    EventTwice {
        /// The event.
        id: Uuid,
        /// The second one's line.
        line: u64,
    },
    /// More events than the seal covers.
    #[error(
        "event {id} was added to seal {seal} after it was sealed: the seal covers {count} events"
    )]
    EventAdded {
        /// The event.
        id: Uuid,
        /// The seal.
        seal: i64,
        /// Events the seal covers.
        count: i32,
    },
    /// Events and their leaves were changed together, so only the seal can tell.
    #[error(
        "seal {seal} does not match its events: an event and its leaf were changed together, among the {count} from \
         event {first} to event {last}"
    )]
    BatchEdited {
        /// The seal.
        seal: i64,
        /// Events in it.
        count: i32,
        /// Its first event.
        first: Uuid,
        /// Its last event.
        last: Uuid,
    },
    /// The log ends before the point known from outside the database.
    #[error(
        "the log was cut short: the head outside the database is at seal {head_seq} with {head_total} events, but the \
         export ends at seal {seq} with {total} events, so seal {} is the first one missing", seq + 1
    )]
    CutShort {
        /// The head's seal number.
        head_seq: i64,
        /// The head's count of events.
        head_total: i64,
        /// The export's last seal.
        seq: i64,
        /// The export's count of sealed events.
        total: i64,
    },
    /// The export has no last line, so its copy is incomplete.
    #[error("the export is incomplete: it stops after line {line} without its last line")]
    NoEnd {
        /// The last line there is.
        line: u64,
    },
    /// The last line counts other than what stands before it.
    #[error("the export's last line counts {counted} {what}, but {found} stand before it")]
    Miscounted {
        /// What is counted.
        what: &'static str,
        /// The count in the last line.
        counted: u64,
        /// The count found.
        found: u64,
    },
}
