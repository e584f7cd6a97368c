//! What a CUDA error code means for us. The codes and names are NVIDIA's:
//! <https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html>. The runtime, which the quantised products are
//! launched through, uses the same numbers; the few that only it has are named `cudaError…`.

use super::BackendError;

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Memory ran out: the same works later or in smaller pieces, and the process is unharmed.
    Retry,
    /// The process's context is broken for good, but another process may find the GPU well.
    Restart,
    /// This GPU, with this driver and this program, can't be used.
    LeaveGpu,
}

impl Fault {
    /// The error of this kind with these words.
    pub fn error(self, reason: String) -> BackendError {
        match self {
            Fault::Retry => BackendError::Retry(reason),
            Fault::Restart => BackendError::Restart(reason),
            Fault::LeaveGpu => BackendError::LeaveGpu(reason),
        }
    }
}

use Fault::{LeaveGpu, Restart, Retry};

/// Code, NVIDIA's name, what helps. In the order of the codes.
pub const CODES: &[(u32, &str, Fault)] = &[
    (1, "CUDA_ERROR_INVALID_VALUE", Restart),
    (2, "CUDA_ERROR_OUT_OF_MEMORY", Retry),
    (3, "CUDA_ERROR_NOT_INITIALIZED", Restart),
    (4, "CUDA_ERROR_DEINITIALIZED", Restart),
    (9, "cudaErrorInvalidConfiguration", LeaveGpu),
    (34, "CUDA_ERROR_STUB_LIBRARY", LeaveGpu),
    (35, "cudaErrorInsufficientDriver", LeaveGpu),
    (46, "CUDA_ERROR_DEVICE_UNAVAILABLE", LeaveGpu),
    (98, "cudaErrorInvalidDeviceFunction", LeaveGpu),
    (100, "CUDA_ERROR_NO_DEVICE", LeaveGpu),
    (101, "CUDA_ERROR_INVALID_DEVICE", LeaveGpu),
    (102, "CUDA_ERROR_DEVICE_NOT_LICENSED", LeaveGpu),
    (200, "CUDA_ERROR_INVALID_IMAGE", LeaveGpu),
    (201, "CUDA_ERROR_INVALID_CONTEXT", Restart),
    (209, "CUDA_ERROR_NO_BINARY_FOR_GPU", LeaveGpu),
    (214, "CUDA_ERROR_ECC_UNCORRECTABLE", Restart),
    (218, "CUDA_ERROR_INVALID_PTX", LeaveGpu),
    (220, "CUDA_ERROR_NVLINK_UNCORRECTABLE", Restart),
    (221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", LeaveGpu),
    (222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", LeaveGpu),
    (223, "CUDA_ERROR_JIT_COMPILATION_DISABLED", LeaveGpu),
    (226, "CUDA_ERROR_CONTAINED", Restart),
    (300, "CUDA_ERROR_INVALID_SOURCE", LeaveGpu),
    (302, "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND", LeaveGpu),
    (303, "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED", LeaveGpu),
    (304, "CUDA_ERROR_OPERATING_SYSTEM", Restart),
    (400, "CUDA_ERROR_INVALID_HANDLE", Restart),
    (401, "CUDA_ERROR_ILLEGAL_STATE", Restart),
    (500, "CUDA_ERROR_NOT_FOUND", LeaveGpu),
    (700, "CUDA_ERROR_ILLEGAL_ADDRESS", Restart),
    (701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", LeaveGpu),
    (702, "CUDA_ERROR_LAUNCH_TIMEOUT", Restart),
    (709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", Restart),
    (710, "CUDA_ERROR_ASSERT", Restart),
    (714, "CUDA_ERROR_HARDWARE_STACK_ERROR", Restart),
    (715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", Restart),
    (716, "CUDA_ERROR_MISALIGNED_ADDRESS", Restart),
    (717, "CUDA_ERROR_INVALID_ADDRESS_SPACE", Restart),
    (718, "CUDA_ERROR_INVALID_PC", Restart),
    (719, "CUDA_ERROR_LAUNCH_FAILED", Restart),
    (800, "CUDA_ERROR_NOT_PERMITTED", LeaveGpu),
    (801, "CUDA_ERROR_NOT_SUPPORTED", LeaveGpu),
    (802, "CUDA_ERROR_SYSTEM_NOT_READY", LeaveGpu),
    (803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", LeaveGpu),
    (804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", LeaveGpu),
    (999, "CUDA_ERROR_UNKNOWN", LeaveGpu),
];

/// What helps with a code. One that isn't in the table gets a new process; the front leaves the GPU if that doesn't help.
pub fn fault(code: u32) -> Fault {
    CODES
        .binary_search_by_key(&code, |&(code, ..)| code)
        .map_or(Restart, |i| CODES[i].2)
}

/// A code for people.
pub fn describe(code: u32) -> String {
    match CODES.binary_search_by_key(&code, |&(code, ..)| code) {
        Ok(i) => format!("{} ({code})", CODES[i].1),
        Err(_) => format!("CUDA error {code}"),
    }
}

/// The error of a code, saying during what it came.
pub fn error(code: u32, during: &str) -> BackendError {
    fault(code).error(format!("the GPU failed while {during}: {}", describe(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_so_that_every_code_is_found() {
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
        for &(code, name, class) in CODES {
            assert_eq!(fault(code), class, "{name}");
            assert!(describe(code).contains(name));
        }
    }

    #[test]
    fn memory_is_retried_broken_contexts_end_the_process_and_wrong_machines_are_left() {
        assert_eq!(fault(2), Retry);
        for sticky in [214, 700, 710, 714, 715, 716, 717, 718, 719] {
            assert_eq!(fault(sticky), Restart, "{sticky}");
        }
        for useless in [35, 46, 98, 100, 209, 218, 222, 803, 999] {
            assert_eq!(fault(useless), LeaveGpu, "{useless}");
        }
    }

    #[test]
    fn a_code_nobody_knows_gets_a_new_process_and_is_named() {
        assert_eq!(fault(12_345), Restart);
        let BackendError::Restart(reason) = error(12_345, "computing") else {
            panic!("another class");
        };
        assert!(reason.contains("12345"), "{reason}");
    }
}
