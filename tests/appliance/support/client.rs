//! A client over the real router, without the network.

use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

/// Somebody who sends requests.
#[derive(Clone)]
pub struct Client {
    router: axum::Router,
    credentials: Option<(header::HeaderName, String)>,
    api: bool,
    peer: [u8; 4],
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|e| panic!("{e} in {}: {}", self.status, self.text()))
    }

    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        self.headers
            .get(header::LOCATION)
            .map_or("", |v| v.to_str().unwrap())
    }

    /// Fails with the body when the status is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// The message of one field of a problem document.
    #[track_caller]
    pub fn field_error(&self, field: &str) -> String {
        let body = self.json();
        let errors = body["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("no field errors in {body}"));
        errors
            .iter()
            .find(|e| e["field"] == field)
            .map(|e| e["message"].as_str().unwrap().to_owned())
            .unwrap_or_else(|| panic!("no error for {field} in {body}"))
    }
}

impl Client {
    pub(super) fn browser(router: axum::Router, token: String) -> Self {
        Self {
            router,
            credentials: Some((header::COOKIE, format!("{}={token}", hadada::web::COOKIE))),
            api: false,
            peer: [127, 0, 0, 1],
        }
    }

    pub(super) fn program(router: axum::Router, token: String) -> Self {
        Self {
            router,
            credentials: Some((header::AUTHORIZATION, format!("Bearer {token}"))),
            api: true,
            peer: [127, 0, 0, 1],
        }
    }

    pub fn stranger(router: axum::Router) -> Self {
        Self {
            router,
            credentials: None,
            api: false,
            peer: [127, 0, 0, 1],
        }
    }

    /// The same somebody with a cookie of another kind.
    pub fn with_cookie(&self, cookie: &str) -> Self {
        Self {
            credentials: Some((header::COOKIE, cookie.to_owned())),
            ..self.clone()
        }
    }

    /// The same somebody at another server over the same databases.
    pub fn on(&self, router: axum::Router) -> Self {
        Self {
            router,
            ..self.clone()
        }
    }

    /// The same somebody at another address.
    pub fn at(&self, peer: [u8; 4]) -> Self {
        Self {
            peer,
            ..self.clone()
        }
    }

    /// Sends any request.
    pub async fn send(&self, mut request: Request<Body>) -> Reply {
        if let Some((name, value)) = &self.credentials {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        if !request.headers().contains_key(header::ACCEPT) {
            let accept = if self.api {
                "application/json"
            } else {
                "text/html"
            };
            request
                .headers_mut()
                .insert(header::ACCEPT, accept.parse().unwrap());
        }
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from((self.peer, 50_000))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            bytes,
        }
    }

    /// Sends a request and gives the response while its body still streams.
    pub async fn open(&self, path: &str) -> http::Response<Body> {
        let mut request = Request::get(path)
            .header(header::ACCEPT, "text/event-stream")
            .body(Body::empty())
            .unwrap();
        if let Some((name, value)) = &self.credentials {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from((self.peer, 50_000))));
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Posts JSON and gives the response while its events still stream.
    pub async fn stream(&self, path: &str, body: &serde_json::Value) -> http::Response<Body> {
        let mut request = Request::post(path)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        if let Some((name, value)) = &self.credentials {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from((self.peer, 50_000))));
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// What an address shows, where it shows something.
    pub async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text()
    }

    /// What the API gives at an address.
    pub async fn read(&self, path: &str) -> serde_json::Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// The items of a list, page after page; the address has a question in it already.
    pub async fn all(&self, path: &str) -> Vec<serde_json::Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.read(&format!("{path}{cursor}")).await;
            items.extend_from_slice(page["items"].as_array().unwrap());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body: String = fields
            .iter()
            .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
            .collect::<Vec<_>>()
            .join("&");
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body));
        self.send(request.unwrap()).await
    }

    pub async fn post_json(&self, path: &str, body: &serde_json::Value) -> Reply {
        self.json(Method::POST, path, body).await
    }

    pub async fn put_json(&self, path: &str, body: &serde_json::Value) -> Reply {
        self.json(Method::PUT, path, body).await
    }

    async fn json(&self, method: Method, path: &str, body: &serde_json::Value) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
