//! The inference node. `hadada-inference` is the front: HTTP on a Unix socket, the queue, the worker's life. It never
//! touches a model. `hadada-worker` is a process of its own that owns the models. Programs are thin; what they do is here,
//! so that tests, benches and fuzzing reach it.

pub mod config;
pub mod front;
pub mod gpu;
pub mod http;
pub mod metrics;
pub mod queue;
pub mod watchdog;
pub mod worker;
