//! A worker without a model that writes: it embeds, so that drafts are still sorted while no model may write them.

use crate::worker::alive;
use crate::worker::embed::{self, Embedder};
use hadada_inference_protocol::{FromWorker, RefusalKind, RequestId, ToWorker, write};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::Receiver;

/// Works until the inbox closes.
///
/// # Errors
/// When the front no longer listens.
pub fn run(
    embedder: &Embedder,
    out: &mut impl Write,
    inbox: &Receiver<ToWorker>,
) -> io::Result<()> {
    let mut waiting: VecDeque<ToWorker> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            alive::busy(false);
            match inbox.recv() {
                Ok(message) => waiting.push_back(message),
                Err(_) => return Ok(()),
            }
            alive::busy(true);
        }
        waiting.extend(inbox.try_iter());
        let Some(message) = waiting.pop_front() else {
            continue;
        };
        let refuse = |id| FromWorker::Refused {
            id,
            kind: RefusalKind::NoModel,
            message: "no model that writes is loaded".into(),
        };
        let answer = match message {
            ToWorker::Embed { id, texts } => embed_all(embedder, id, &texts),
            ToWorker::Generate(request) => refuse(request.id),
            ToWorker::Tokenize { id, .. } | ToWorker::Detokenize { id, .. } => refuse(id),
            ToWorker::Cancel { id } => {
                waiting.retain(|m| !matches!(m, ToWorker::Embed { id: other, .. } if *other == id));
                continue;
            }
        };
        write(out, &answer)?;
        out.flush()?;
    }
}

fn embed_all(embedder: &Embedder, id: RequestId, texts: &[String]) -> FromWorker {
    let (mut vectors, mut tokens) = (Vec::with_capacity(texts.len()), 0);
    for batch in texts.chunks(embed::BATCH) {
        match embedder.embed(batch) {
            Ok((more, read)) => {
                vectors.extend(more);
                tokens += read;
            }
            Err(error) => {
                return FromWorker::Refused {
                    id,
                    kind: RefusalKind::Internal,
                    message: format!("embedding failed: {error}"),
                };
            }
        }
    }
    FromWorker::Embeddings {
        id,
        vectors,
        tokens,
    }
}
