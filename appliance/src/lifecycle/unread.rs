//! What a client still sends when its answer is ready.
//!
//! A form is answered unread where its sender has to sign in again, or sends too often. With the rest of it left unread the
//! connection or stream would be reset, and some clients then show an error instead of the answer. So it is read first, and
//! thrown away.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// How many bytes are read and thrown away at most: more than any form has.
const MOST: usize = 4 << 20;
/// How long that may take.
const LONGEST: Duration = Duration::from_secs(2);

/// Answers, once the request was read, by whoever it was for or by nobody.
pub(super) async fn read(request: Request, next: Next) -> Response {
    // Who waits to be told to go on has sent nothing yet.
    if request.body().is_end_stream() || request.headers().contains_key(http::header::EXPECT) {
        return next.run(request).await;
    }
    let (left, mut rest) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(Lent {
            body,
            left: Some(left),
        })
    });
    let response = next.run(request).await;
    // Not there where the body is still being read, for a stream of answers.
    if let Ok(rest) = rest.try_recv() {
        let _late = tokio::time::timeout(LONGEST, throw_away(rest)).await;
    }
    response
}

async fn throw_away(mut body: Body) {
    let mut room = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match room.checked_sub(length) {
            Some(less) => room = less,
            None => return,
        }
    }
}

/// A body that is given back by whoever drops it before its end.
struct Lent {
    body: Body,
    left: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.left = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(left) = self.left.take()
            && !self.body.is_end_stream()
        {
            // Refused where the answer has gone out already.
            let _refused = left.send(std::mem::take(&mut self.body));
        }
    }
}
