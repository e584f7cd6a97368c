//! NVIDIA GPUs, through candle and cudarc. Neither can be trusted to return every error: a missing library or symbol is
//! a panic, the launchers of the quantised products return nothing, and after some errors nothing works until the process
//! ends. So every call is guarded, the runtime is asked after every pass, and what failed is sorted by what helps.

use super::cuda_errors::{self, Fault};
use super::tensors::{LoadError, TensorModel};
use super::{Backend, BackendError, Device, Row, tensors_check};
use crate::worker::gguf::{Gguf, GgufError};
use crate::worker::model::config::ModelConfig;
use candle_core::cuda_backend::{CudaError, cudarc};
use cudarc::cublas::sys::cublasStatus_t;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

unsafe extern "C" {
    /// The runtime's last error of this thread, which it then forgets.
    fn cudaGetLastError() -> c_int;
}

/// Why a model can't be run on the GPU.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] BackendError),
}

/// A model on a GPU.
pub struct CudaBackend {
    model: TensorModel,
    device: candle_core::Device,
    name: String,
    capability: String,
    logits: Vec<f32>,
}

impl CudaBackend {
    /// Loads a model onto the first GPU the process sees, with room for this many blocks of keys and values. `built_for` is
    /// the capability, times ten, that the program's machine code is for, where the build said so.
    ///
    /// # Errors
    /// When the file is wrong, or there is no GPU that this program can use, or not enough of its memory.
    pub fn load(
        file: &Gguf,
        blocks: usize,
        built_for: Option<u32>,
    ) -> Result<CudaBackend, OpenError> {
        let config = ModelConfig::read(file)?;
        let (device, name, capability) = guarded("starting", || open(built_for))?;
        let model = catch_unwind(AssertUnwindSafe(|| {
            TensorModel::load(file, config, &device, blocks)
        }));
        let model = match model {
            Ok(Ok(model)) => model,
            Ok(Err(LoadError::File(error))) => return Err(error.into()),
            Ok(Err(LoadError::Device(error))) => {
                return Err(sorted(&error, "loading the model").into());
            }
            Err(panic) => return Err(gave_up(panic.as_ref(), "loading the model").into()),
        };
        Ok(CudaBackend {
            model,
            device,
            name,
            capability,
            logits: Vec::new(),
        })
    }

    /// Computes a pass; where memory runs out, in smaller and smaller pieces.
    fn pass(&mut self, rows: &[Row<'_>]) -> Result<(), BackendError> {
        let before = self.logits.len();
        let (model, logits) = (&self.model, &mut self.logits);
        let outcome = guarded("computing", || model.forward(rows, logits))
            .and_then(|()| launches("computing"));
        match outcome {
            Err(BackendError::Retry(reason)) => {
                self.logits.truncate(before);
                // What the pass had goes back to the pool when the GPU has come to its end.
                guarded("making room", || self.device.synchronize())?;
                let (first, second) = rows.split_at(rows.len() / 2);
                if self.model.economise() || !first.is_empty() {
                    self.pass(first)?;
                    self.pass(second)
                } else {
                    Err(BackendError::Retry(reason))
                }
            }
            outcome => outcome,
        }
    }
}

fn open(built_for: Option<u32>) -> candle_core::Result<(candle_core::Device, String, String)> {
    use candle_core::cuda_backend::WrapErr;
    let device = candle_core::Device::new_cuda(0)?;
    let context = device.as_cuda_device()?.cuda_stream().context().clone();
    let (major, minor) = context.compute_capability().w()?;
    let name = context.name().w()?;
    let capability = format!("{major}.{minor}");
    if let Some(built) = built_for
        && !runs_on(built, (major * 10 + minor).unsigned_abs())
    {
        candle_core::bail!(
            "this program is for GPUs of capability {}.{}; {name} has {capability}",
            built / 10,
            built % 10
        );
    }
    Ok((device, name, capability))
}

/// Whether machine code for one capability runs on another. Up to 8.9 it does on later ones of the same generation; from
/// 9.0 on it is built with what only that very capability has.
fn runs_on(built: u32, found: u32) -> bool {
    if built < 90 {
        built / 10 == found / 10 && built <= found
    } else {
        built == found
    }
}

/// Runs something on the GPU, whatever way it fails.
fn guarded<T>(
    during: &str,
    work: impl FnOnce() -> candle_core::Result<T>,
) -> Result<T, BackendError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(sorted(&error, during)),
        Err(panic) => Err(gave_up(panic.as_ref(), during)),
    }
}

/// What the launchers that return nothing have to say.
fn launches(during: &str) -> Result<(), BackendError> {
    // SAFETY: it takes nothing and may be called at any time from any thread.
    match unsafe { cudaGetLastError() } {
        0 => Ok(()),
        code => Err(cuda_errors::error(code.unsigned_abs(), during)),
    }
}

/// A panic of the CUDA libraries: one of them, or a function in it, is missing. No new process helps with that.
fn gave_up(panic: &(dyn std::any::Any + Send), during: &str) -> BackendError {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a reason");
    BackendError::LeaveGpu(format!(
        "the GPU's libraries gave up while {during}: {words}"
    ))
}

/// Sorts candle's errors by what helps.
fn sorted(error: &candle_core::Error, during: &str) -> BackendError {
    match error {
        candle_core::Error::WithBacktrace { inner, .. }
        | candle_core::Error::Context { inner, .. }
        | candle_core::Error::WithPath { inner, .. } => sorted(inner, during),
        candle_core::Error::Cuda(cause) => match cause.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(cause) | CudaError::Load { cuda: cause, .. }) => {
                cuda_errors::error(cause.0 as u32, during)
            }
            Some(CudaError::Cublas(cause)) => {
                let fault = match cause.0 {
                    cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => Fault::Retry,
                    cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED
                    | cublasStatus_t::CUBLAS_STATUS_ARCH_MISMATCH
                    | cublasStatus_t::CUBLAS_STATUS_LICENSE_ERROR => Fault::LeaveGpu,
                    _ => Fault::Restart,
                };
                fault.error(format!("cuBLAS failed while {during}: {cause}"))
            }
            // The rest has no code: a kernel or a random generator that isn't there.
            _ => BackendError::LeaveGpu(format!("the GPU failed while {during}: {cause}")),
        },
        // Not the GPU's fault but the program's: it would come again in every process.
        other => BackendError::LeaveGpu(format!("the GPU can't be used for {during}: {other}")),
    }
}

impl Backend for CudaBackend {
    fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    fn device(&self) -> Device {
        Device {
            name: self.name.clone(),
            kernels: format!("CUDA {}", self.capability),
            threads: 1,
        }
    }

    fn weight_bytes(&self) -> usize {
        self.model.weight_bytes()
    }

    fn blocks(&self) -> usize {
        self.model.blocks()
    }

    fn tolerance(&self) -> f32 {
        tensors_check::APART
    }

    fn check(&mut self) -> Result<(), BackendError> {
        let outcome = guarded("checking", || tensors_check::run(&self.model, &self.device))?;
        launches("checking")?;
        outcome.map_err(BackendError::LeaveGpu)
    }

    fn forward(&mut self, rows: &[Row<'_>]) -> Result<&mut [f32], BackendError> {
        self.logits.clear();
        self.pass(rows)?;
        Ok(&mut self.logits)
    }
}
