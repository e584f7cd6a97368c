/// An instruction set the kernels are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with the VNNI byte products (Intel since 2019, AMD since 2022).
    Avx512Vnni,
    /// AVX2 with FMA and F16C (x86 since 2013).
    Avx2,
    /// NEON with the byte products of ARMv8.2 (64-bit ARM, most since 2018).
    NeonDot,
    /// NEON (every 64-bit ARM).
    Neon,
    /// Plain code that runs everywhere; the reference for the others.
    Scalar,
}

impl Isa {
    /// Every instruction set this processor has, fastest first. Never empty.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            if avx2
                && has!("avx512f")
                && has!("avx512bw")
                && has!("avx512vl")
                && has!("avx512dq")
                && has!("avx512vnni")
            {
                found.push(Isa::Avx512Vnni);
            }
            if avx2 {
                found.push(Isa::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected as has;
            if has!("neon") && has!("dotprod") {
                found.push(Isa::NeonDot);
            }
            if has!("neon") {
                found.push(Isa::Neon);
            }
        }
        found.push(Isa::Scalar);
        found
    }

    /// The fastest instruction set this processor has.
    pub fn detect() -> Isa {
        Self::available()[0]
    }

    /// Whether this processor can run it.
    pub fn is_available(self) -> bool {
        Self::available().contains(&self)
    }

    /// A short name for logs and the health page.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Avx2 => "avx2",
            Isa::NeonDot => "neon-dot",
            Isa::Neon => "neon",
            Isa::Scalar => "scalar",
        }
    }
}

/// Runs a generic kernel for an [`Isa`], inside a function that has the instruction set turned on, so that the
/// always-inlined body is compiled for it.
///
/// Safety: the processor must have the instruction set; `Cpu` checks that once when it is made.
macro_rules! with_isa {
    ($isa:expr, $kernel:ident :: <_ $(, $extra:ident)*>($($name:ident : $type:ty),* $(,)?) $(-> $ret:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
        unsafe fn avx512($($name: $type),*) $(-> $ret)? {
            // SAFETY: the caller's promises are passed on, and the features are on.
            unsafe { $kernel::<crate::simd::avx512::Avx512>($($name),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2($($name: $type),*) $(-> $ret)? {
            // SAFETY: as above.
            unsafe { $kernel::<crate::simd::avx2::Avx2>($($name),*) }
        }
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon,dotprod")]
        unsafe fn neon_dot($($name: $type),*) $(-> $ret)? {
            // SAFETY: as above.
            unsafe { $kernel::<crate::simd::neon::Neon<true>>($($name),*) }
        }
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon")]
        unsafe fn neon($($name: $type),*) $(-> $ret)? {
            // SAFETY: as above.
            unsafe { $kernel::<crate::simd::neon::Neon<false>>($($name),*) }
        }
        match $isa {
            #[cfg(target_arch = "x86_64")]
            crate::Isa::Avx512Vnni => avx512($($name),*),
            #[cfg(target_arch = "x86_64")]
            crate::Isa::Avx2 => avx2($($name),*),
            #[cfg(target_arch = "aarch64")]
            crate::Isa::NeonDot => neon_dot($($name),*),
            #[cfg(target_arch = "aarch64")]
            crate::Isa::Neon => neon($($name),*),
            _ => $kernel::<crate::simd::scalar::Scalar>($($name),*),
        }
    }};
}
pub(crate) use with_isa;
