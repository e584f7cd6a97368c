//! Static files, embedded at build time under names that carry their hash.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

pub(super) struct Asset {
    logical: &'static str,
    file: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The address of an asset by its plain name: `app.css` → `/a/app.3f9a1c2b.css`.
pub(super) fn url(logical: &str) -> Option<String> {
    ASSETS
        .iter()
        .find(|a| a.logical == logical)
        .map(|a| format!("/a/{}", a.file))
}

/// `GET /a/{file}`, and `/sw.js`, which must stand at the root to see every page.
pub async fn serve(file: Option<Path<String>>, headers: HeaderMap) -> Response {
    let name = file.map_or_else(|| "sw.js".to_owned(), |Path(name)| name);
    let Some(asset) = ASSETS.iter().find(|a| a.file == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let accepts = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let (bytes, encoding) = match (asset.brotli, asset.gzip) {
        (Some(bytes), _) if accepts.contains("br") => (bytes, Some("br")),
        (_, Some(bytes)) if accepts.contains("gzip") => (bytes, Some("gzip")),
        _ => (asset.plain, None),
    };
    let hashed = asset.file != asset.logical;
    let cache = if hashed {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}
