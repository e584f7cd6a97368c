//! The GPU worker on a machine without a GPU: the real program, built with the `cuda` feature, over the real candle and
//! cudarc, on a fake driver (shims/fakecuda.c) that computes what it is asked and fails as it is told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[allow(dead_code, reason = "shared with the suite of the daemon")]
mod support;

use hadada_inference_protocol::{
    FaultKind, Format, FromWorker, Generate, Priority, Prompt, RefusalKind, RequestId, Sampling,
    ToWorker, Token, WorkerInfo, read, write,
};
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{Daemon, program, wait_for, writing_model};

/// "What is physiotherapy?", laid out as a chat, and what the model says to it.
const QUESTION: &[Token] = &[
    1, 4093, 198, 1780, 314, 47764, 47, 2, 198, 1, 520, 9531, 198,
];
const ANSWER: &[Token] = &[28457, 24198, 314, 253, 7607, 282, 5288, 4513];

/// The worker built beside this test, with the same features, wherever other programs are.
fn worker() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("hadada-worker")
}

/// Compiles one of the shims.
fn compile(shim: &str, library: &Path, flags: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/inference/shims")
        .join(shim);
    let compiled = Command::new("cc")
        .args(flags)
        .args(["-shared", "-fPIC", "-o"])
        .args([library, &source])
        .arg("-lm")
        .status()
        .unwrap();
    assert!(compiled.success(), "{shim} does not compile");
}

/// The fake driver, which also answers as cuBLAS and cuRAND where a test doesn't take them away.
fn fake_driver(folder: &Path, with: &[&str]) {
    compile(
        "fakecuda.c",
        &folder.join("libcuda.so.1"),
        &["-O3", "-march=native"],
    );
    for name in with {
        std::os::unix::fs::symlink("libcuda.so.1", folder.join(name)).unwrap();
    }
}

/// A GPU worker of one test's own.
struct Worker {
    folder: PathBuf,
    child: Child,
    from: BufReader<UnixStream>,
    to: UnixStream,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Worker {
    fn start(rules: &str) -> Worker {
        Worker::start_with(rules, &["libcublas.so.13", "libcurand.so.10"])
    }

    fn start_with(rules: &str, libraries: &[&str]) -> Worker {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = std::env::temp_dir().join(format!(
            "hadada-cuda-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&folder).unwrap();
        fake_driver(&folder, libraries);
        std::fs::write(folder.join("rules"), rules).unwrap();
        let (to, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(worker())
            .arg("--model")
            .arg(writing_model())
            .args(["--cache-tokens", "1024"])
            .env("LD_LIBRARY_PATH", &folder)
            .env("FAKE_CUDA", folder.join("rules"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        to.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        let from = BufReader::new(to.try_clone().unwrap());
        Worker {
            folder,
            child,
            from,
            to,
        }
    }

    /// A worker that passed its known-answer test.
    fn ready() -> (Worker, WorkerInfo) {
        let mut worker = Worker::start("");
        match worker.hear() {
            FromWorker::Ready(info) => (worker, *info),
            other => panic!("{other:?} instead of a good start: {}", worker.log()),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The fake GPU follows these rules from now on.
    fn rule(&self, rules: &str) {
        let next = self.folder.join("next");
        std::fs::write(&next, rules).unwrap();
        std::fs::rename(next, self.folder.join("rules")).unwrap();
    }

    fn hear(&mut self) -> FromWorker {
        loop {
            match read(&mut self.from) {
                Ok(Some(FromWorker::Alive { .. })) => {}
                Ok(Some(message)) => return message,
                other => panic!("{other:?} instead of a message: {}", self.log()),
            }
        }
    }

    fn ask(&mut self, id: RequestId, prompt: &[Token], max_tokens: u32) {
        let request = Generate {
            id,
            prompt: Prompt::Tokens(prompt.to_vec()),
            max_tokens: Some(max_tokens),
            priority: Priority::Interactive,
            sampling: Sampling {
                temperature: 0.0,
                ..Sampling::default()
            },
            stop: Vec::new(),
            format: Format::Text,
            logprobs: None,
            ignore_eos: true,
            stream: true,
        };
        write(&mut self.to, &ToWorker::Generate(Box::new(request))).unwrap();
    }

    /// The tokens of one request's answer, when nothing else runs.
    fn answer(&mut self, id: RequestId) -> Vec<Token> {
        let mut tokens = Vec::new();
        loop {
            match self.hear() {
                FromWorker::Delta { tokens: more, .. } => {
                    tokens.extend(more.iter().map(|t| t.token));
                }
                FromWorker::Finished { id: ended, .. } => {
                    assert_eq!(ended, id);
                    return tokens;
                }
                FromWorker::Started { .. } => {}
                other => panic!("{other:?} instead of an answer: {}", self.log()),
            }
        }
    }

    /// Hears that the worker can't go on, and sees it end.
    fn failure(mut self) -> (FaultKind, String) {
        let failed = loop {
            match self.hear() {
                FromWorker::Failed { reason, kind } => break (kind, reason),
                FromWorker::Started { .. } | FromWorker::Delta { .. } => {}
                other => panic!("{other:?} instead of a failure"),
            }
        };
        assert!(!self.child.wait().unwrap().success());
        failed
    }
}

/// A start that must fail in this way, saying this.
fn refused(rules: &str, kind: FaultKind, words: &str) {
    let (found, reason) = Worker::start(rules).failure();
    assert!(
        found == kind && reason.contains(words),
        "{rules}: {found:?}, {reason}"
    );
}

#[test]
fn a_gpu_that_computes_writes_what_the_model_says() {
    let (mut worker, info) = Worker::ready();
    assert_eq!(
        (info.device.as_str(), info.kernels.as_str()),
        ("Fake GPU", "CUDA 8.0")
    );
    worker.ask(1, QUESTION, ANSWER.len() as u32);
    assert_eq!(worker.answer(1), ANSWER);
}

#[test]
fn a_gpu_that_computes_nothing_or_wrongly_is_left() {
    let test = "known-answer test failed";
    refused("compute=0\n", FaultKind::LeaveGpu, test);
    refused("wrong=1\n", FaultKind::LeaveGpu, "is off by 10.");
}

#[test]
fn a_machine_without_a_gpu_for_this_program_says_so() {
    refused(
        "devices=0\n",
        FaultKind::LeaveGpu,
        "CUDA_ERROR_NO_DEVICE (100)",
    );
    refused(
        "fail.cuModuleLoadData=222\n",
        FaultKind::LeaveGpu,
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)",
    );
    refused(
        "fail.cuModuleLoadData=209\n",
        FaultKind::LeaveGpu,
        "CUDA_ERROR_NO_BINARY_FOR_GPU (209)",
    );
    refused(
        "cc=75\n",
        FaultKind::LeaveGpu,
        "for GPUs of capability 8.0; Fake GPU has 7.5",
    );
    // The launchers of the quantised products check nothing; the runtime knows.
    refused(
        "runtime=98\n",
        FaultKind::LeaveGpu,
        "cudaErrorInvalidDeviceFunction (98)",
    );
}

#[test]
fn a_missing_library_is_an_answer_and_no_crash() {
    let (kind, reason) = Worker::start_with("", &["libcurand.so.10"]).failure();
    assert_eq!(kind, FaultKind::LeaveGpu);
    assert!(reason.contains("cublas"), "{reason}");
}

#[test]
fn a_gpu_too_small_for_the_model_is_said_before_anything_else_fails() {
    refused(
        "memory=60000000\n",
        FaultKind::Retry,
        "CUDA_ERROR_OUT_OF_MEMORY (2)",
    );
    refused(
        "fail.cuMemcpyHtoDAsync_v2=214\n",
        FaultKind::Restart,
        "CUDA_ERROR_ECC_UNCORRECTABLE (214)",
    );
}

#[test]
fn memory_that_runs_out_costs_time_or_a_request_and_never_the_process() {
    let (mut worker, _) = Worker::ready();
    // For a moment: the pass is done in smaller pieces, and the answer is the same.
    worker.rule("fail.cuMemAllocAsync=2\ntimes.cuMemAllocAsync=3\n");
    worker.ask(1, QUESTION, ANSWER.len() as u32);
    assert_eq!(worker.answer(1), ANSWER);
    // For longer: the request is refused.
    worker.rule("fail.cuMemAllocAsync=2\n");
    worker.ask(2, QUESTION, 4);
    loop {
        match worker.hear() {
            FromWorker::Started { .. } => {}
            FromWorker::Refused { id, kind, message } => {
                assert_eq!((id, kind), (2, RefusalKind::Internal));
                assert!(message.contains("OUT_OF_MEMORY"), "{message}");
                break;
            }
            other => panic!("{other:?} instead of a refusal"),
        }
    }
    // And the next one is not.
    worker.rule("");
    worker.ask(3, QUESTION, ANSWER.len() as u32);
    assert_eq!(worker.answer(3), ANSWER);
}

#[test]
fn a_gpu_that_breaks_under_work_ends_the_process_with_what_helps() {
    for (rules, expected, words) in [
        (
            "fail.cuMemcpyDtoHAsync_v2=719\n",
            FaultKind::Restart,
            "CUDA_ERROR_LAUNCH_FAILED (719)",
        ),
        (
            "fail.cuLaunchKernel=999\n",
            FaultKind::LeaveGpu,
            "CUDA_ERROR_UNKNOWN (999)",
        ),
    ] {
        let (mut worker, _) = Worker::ready();
        worker.ask(1, QUESTION, 200);
        while !matches!(worker.hear(), FromWorker::Delta { .. }) {}
        worker.rule(rules);
        let (kind, reason) = worker.failure();
        assert!(
            kind == expected && reason.contains(words),
            "{kind:?}, {reason}"
        );
    }
}

#[test]
fn the_front_starts_a_broken_gpu_again_and_says_why_it_leaves_a_useless_one() {
    let folder = std::env::temp_dir().join(format!("hadada-cuda-front-{}", std::process::id()));
    let programs = folder.join("programs");
    std::fs::create_dir_all(programs.join("lib")).unwrap();
    fake_driver(
        &programs.join("lib"),
        &["libcublas.so.13", "libcurand.so.10"],
    );
    std::os::unix::fs::symlink(worker(), programs.join("hadada-worker-cuda-80")).unwrap();
    let rules = folder.join("rules");
    std::fs::write(&rules, "").unwrap();
    std::fs::write(
        folder.join("state"),
        "capability=80\ntemperature=55\nslowdown_at=90\nshutdown_at=95\nmemory_total=24000000000\nmemory_free=20000000000\n",
    )
    .unwrap();
    let nvml = folder.join("libnvidia-ml.so.1");
    compile("nvml.c", &nvml, &["-std=c11", "-D_GNU_SOURCE"]);
    let mut front = Command::new(program("hadada-inference"));
    front
        .env("HADADA_NVML_PATH", &nvml)
        .env("NVML_SHIM_STATE", folder.join("state"))
        .env("NVML_SHIM_EVENTS", folder.join("events"))
        .env("FAKE_CUDA", &rules)
        .arg("--gpu-workers")
        .arg(&programs);
    let daemon = Daemon::start(front, &writing_model(), &["--cache-tokens", "2048"]);
    let patience = Duration::from_secs(300);
    let serving = || daemon.health()["gpu"]["serving"] == true;
    wait_for("the card to serve", patience, || serving().then_some(()));
    let first = daemon.worker();
    let story = |stream: bool, tokens: u32| serde_json::json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": tokens, "ignore_eos": true, "stream": stream});
    let mut streams: Vec<_> = (0..3)
        .map(|_| daemon.events("/v1/completions", &story(true, 400)))
        .collect();
    streams.iter_mut().for_each(|s| drop(s.next().unwrap()));
    std::fs::write(&rules, "fail.cuMemcpyDtoHAsync_v2=719\n").unwrap();
    for stream in streams {
        let errors = stream.filter(|(name, _)| name == "error").count();
        assert_eq!(errors, 1, "a stream does not end with an error");
    }
    std::fs::write(&rules, "").unwrap();
    wait_for("another worker on the card", patience, || {
        (serving() && daemon.worker() != first).then_some(())
    });
    daemon.post("/v1/completions", &story(false, 3)).ok();
    // Now the driver has lost the card, for this process and the next ones.
    let rule = "fail.cuLaunchKernel=999\nfail.cuInit=999\n";
    std::fs::write(&rules, rule).unwrap();
    let mut stream = daemon.events("/v1/completions", &story(true, 400));
    assert!(stream.any(|(name, _)| name == "error"));
    wait_for("the reason to show", patience, || {
        let health = daemon.health();
        health
            .to_string()
            .contains("CUDA_ERROR_UNKNOWN")
            .then_some(())
    });
    assert!(!serving());
    drop(daemon);
    std::fs::remove_dir_all(&folder).unwrap();
}
