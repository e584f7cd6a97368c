//! What is shown of all this.

use super::dispatch::Dispatcher;
use super::post::Life;
use super::{GpuStatus, State, Status};
use crate::gpu;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Before the first look at anything.
pub(super) fn at_start() -> Status {
    Status {
        state: State::Starting,
        reason: Some("the model is loading".into()),
        pid: None,
        info: None,
        no_writer: None,
        model_name: "model".into(),
        gpu: None,
    }
}

impl Dispatcher {
    /// Shows what is.
    pub(super) fn show(&self, now: Instant) {
        let status = self.view(now);
        let serving = matches!(status.state, State::Ready | State::Degraded);
        self.metrics.ready.store(serving.into(), Relaxed);
        self.metrics.card(status.gpu.as_ref());
        self.status.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }

    fn view(&self, now: Instant) -> Status {
        let gpu = self.gpu_status(now);
        let (state, reason) = match &self.serving {
            None => match &self.refusal {
                Some(refusal) => (State::Down, Some(refusal.clone())),
                None => {
                    let reason = match &self.interruption {
                        Some(interruption) => {
                            format!("{interruption}; another one is being started")
                        }
                        None => "the model is loading".into(),
                    };
                    (State::Starting, Some(reason))
                }
            },
            Some(_) => {
                let flaws = self.flaws(now, gpu.as_ref());
                if flaws.is_empty() {
                    (State::Ready, None)
                } else {
                    (State::Degraded, Some(flaws.join("; ")))
                }
            }
        };
        let worker = self.serving.as_ref().or(self.coming.as_ref());
        let name = self
            .serving
            .as_ref()
            .map_or(self.plan.name(), |post| post.plan.name());
        Status {
            state,
            reason,
            pid: worker.map(|post| post.worker.pid),
            info: match &self.serving {
                Some(post) => post.ready.as_ref().map(|ready| Arc::clone(&ready.info)),
                None => self.last_info.clone(),
            },
            no_writer: self.no_writer(),
            model_name: name.into(),
            gpu,
        }
    }

    fn flaws(&self, now: Instant, gpu: Option<&GpuStatus>) -> Vec<String> {
        let mut flaws = Vec::new();
        let Some(post) = &self.serving else {
            return flaws;
        };
        if let Life::Slow(what) = post.life(now) {
            flaws.push(what.to_owned());
        }
        if let Some(ready) = &post.ready {
            flaws.extend(ready.info.embedding_error.clone());
        }
        flaws.extend(self.plan.flaw.clone());
        if let Some(why) = &self.draining {
            flaws.push(format!(
                "the model changes to {} as soon as the running drafts are written, because both don't fit at once: {why}",
                self.plan.name()
            ));
        } else if let Some(blocked) = &self.blocked {
            flaws.push(format!(
                "{} can't be used, and {} goes on: {}",
                blocked.plan.name(),
                post.plan.name(),
                blocked.why
            ));
        }
        if self.config.gpu_workers.is_some() {
            match (self.card_program(), gpu) {
                (Err(why), _) => flaws.push(why),
                (Ok(_), Some(gpu)) if !post.device.is_gpu() => flaws.push(
                    gpu.why_not
                        .clone()
                        .unwrap_or_else(|| "the graphics card is being started".into()),
                ),
                (Ok(_), Some(gpu)) if gpu.state != gpu::State::Healthy => {
                    flaws.push(gpu.sentence.clone());
                }
                _ => {}
            }
        }
        flaws
    }

    fn gpu_status(&self, now: Instant) -> Option<GpuStatus> {
        let seen = self.seen.as_ref()?;
        let serving = self
            .serving
            .as_ref()
            .is_some_and(|post| post.device.is_gpu());
        Some(GpuStatus {
            state: seen.verdict.state,
            action: seen.verdict.action,
            sentence: seen.verdict.sentence.clone(),
            serving,
            why_not: if serving {
                None
            } else {
                match self.card_program() {
                    Err(why) => Some(why),
                    Ok(_) => self.card.why_not().map(str::to_owned),
                }
            },
            again_in: self.card.again_in(now).filter(|_| !serving),
            readings: seen.readings.clone(),
        })
    }
}
