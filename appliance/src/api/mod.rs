//! What the JSON API's rooms share: the list envelope and the document's frame.

/// A list as every list endpoint answers it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct List<T> {
    /// The entries of this page.
    pub items: Vec<T>,
    /// Pass as `cursor` to get the next page; null on the last.
    pub next: Option<String>,
}
