//! Reads the card through NVIDIA's management library, in a thread of its own: a call into a driver that hangs must not
//! stop the front.

use super::{Readings, Sample, Trouble};
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::device::Device;
use nvml_wrapper::enum_wrappers::device::{
    EccCounter, MemoryError, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Time between two looks; events arrive within it.
const EVERY: Duration = Duration::from_secs(1);
/// Time until a library or a card that was never there is looked for again.
const ABSENT: Duration = Duration::from_secs(15);

/// Looks at the first card every second for as long as the receiver lives.
///
/// # Errors
/// When the system gives no thread.
pub fn watch(library: Option<PathBuf>) -> std::io::Result<UnboundedReceiver<Sample>> {
    let (samples, receiver) = unbounded_channel();
    std::thread::Builder::new()
        .name("nvml".into())
        .spawn(move || {
            let mut seen = false;
            // A session ends with an error: the library is opened afresh, which a card that was reset needs anyway.
            while let Err(trouble) = session(library.as_ref(), &samples, &mut seen) {
                let sample = Sample {
                    readings: Err(trouble),
                    xids: Vec::new(),
                };
                if samples.send(sample).is_err() {
                    return;
                }
                std::thread::sleep(if seen { EVERY } else { ABSENT });
            }
        })?;
    Ok(receiver)
}

/// Looks until something goes wrong. Ends well only when nobody listens any more.
fn session(
    library: Option<&PathBuf>,
    samples: &UnboundedSender<Sample>,
    seen: &mut bool,
) -> Result<(), Trouble> {
    let mut builder = Nvml::builder();
    if let Some(path) = library {
        builder.lib_path(path.as_os_str());
    }
    let nvml = builder.init().map_err(trouble)?;
    let device = nvml.device_by_index(0).map_err(trouble)?;
    let fixed = fixed(&nvml, &device)?;
    // A card without events is read all the same.
    let events = nvml.create_event_set().ok().and_then(|set| {
        device
            .register_events(EventTypes::CRITICAL_XID_ERROR, set)
            .ok()
    });
    let mut xids = Vec::new();
    loop {
        let sample = Sample {
            readings: Ok(readings(&nvml, &device, &fixed)?),
            xids,
        };
        *seen = true;
        if samples.send(sample).is_err() {
            return Ok(());
        }
        xids = match &events {
            Some(events) => upcoming(events)?,
            None => {
                std::thread::sleep(EVERY);
                Vec::new()
            }
        };
    }
}

/// The XID of the next event, if one comes in time.
fn wait(
    events: &nvml_wrapper::event::EventSet<'_>,
    limit: Duration,
) -> Result<Option<u64>, Trouble> {
    match events.wait(limit.as_millis() as u32) {
        Ok(event) => Ok(event.event_data.map(|xid| match xid {
            XidError::Value(number) => number,
            XidError::Unknown => 0,
        })),
        Err(NvmlError::Timeout) => Ok(None),
        Err(error) => Err(trouble(error)),
    }
}

/// The events until the next look.
fn upcoming(events: &nvml_wrapper::event::EventSet<'_>) -> Result<Vec<u64>, Trouble> {
    let mut xids = Vec::new();
    let mut limit = EVERY;
    while xids.len() < 64
        && let Some(xid) = wait(events, limit)?
    {
        xids.push(xid);
        limit = Duration::ZERO;
    }
    Ok(xids)
}

/// What doesn't change while the driver is loaded.
fn fixed(nvml: &Nvml, device: &Device<'_>) -> Result<Readings, Trouble> {
    Ok(Readings {
        name: device.name().map_err(trouble)?,
        uuid: device.uuid().map_err(trouble)?,
        driver: some(nvml.sys_driver_version())?,
        capability: some(device.cuda_compute_capability())?
            .and_then(|c| u32::try_from(c.major * 10 + c.minor).ok()),
        slowdown_at: some(device.temperature_threshold(TemperatureThreshold::Slowdown))?,
        shutdown_at: some(device.temperature_threshold(TemperatureThreshold::Shutdown))?,
        power_limit: some(device.enforced_power_limit())?,
        ..Readings::default()
    })
}

fn readings(nvml: &Nvml, device: &Device<'_>, fixed: &Readings) -> Result<Readings, Trouble> {
    let memory = some(device.memory_info())?;
    let remapped = remapped_rows(nvml, device)?;
    Ok(Readings {
        temperature: some(device.temperature(TemperatureSensor::Gpu))?,
        memory_total: memory.as_ref().map(|m| m.total),
        memory_free: memory.as_ref().map(|m| m.free),
        utilization: some(device.utilization_rates())?.map(|u| u.gpu),
        power: some(device.power_usage())?,
        fan: some(device.fan_speed(0))?,
        throttle: some(device.current_throttle_reasons())?.map(|t| t.bits()),
        ecc_corrected: some(device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile))?,
        ecc_uncorrected: some(
            device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile),
        )?,
        remap_pending: remapped.map(|r| r.0),
        remap_failed: remapped.map(|r| r.1),
        ..fixed.clone()
    })
}

/// Whether a replacement of memory rows waits for a reset, and whether one failed. The wrapper has no method for it.
fn remapped_rows(nvml: &Nvml, device: &Device<'_>) -> Result<Option<(bool, bool)>, Trouble> {
    let Ok(ask) = nvml.lib().nvmlDeviceGetRemappedRows.as_ref() else {
        return Ok(None);
    };
    let (mut corrected, mut uncorrected, mut pending, mut failed) = (0, 0, 0, 0);
    // SAFETY: the handle is this library's own and lives as long as `device`; the four places outlive the call.
    let code = unsafe {
        ask(
            device.handle(),
            &mut corrected,
            &mut uncorrected,
            &mut pending,
            &mut failed,
        )
    };
    let result = nvml_wrapper::error::nvml_try(code);
    Ok(some(result)?.map(|()| (pending != 0, failed != 0)))
}

/// What a card can't measure is none; what means that it is gone, or is no answer at all, is an error.
fn some<T>(result: Result<T, NvmlError>) -> Result<Option<T>, Trouble> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(
            error @ (NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::Unknown
            | NvmlError::LibRmVersionMismatch),
        ) => Err(trouble(error)),
        Err(_) => Ok(None),
    }
}

fn trouble(error: NvmlError) -> Trouble {
    match error {
        NvmlError::GpuLost => Trouble::Gone,
        NvmlError::ResetRequired => Trouble::ResetRequired,
        NvmlError::LibloadingError(_)
        | NvmlError::LibraryNotFound
        | NvmlError::DriverNotLoaded
        | NvmlError::NotFound
        | NvmlError::InvalidArg => Trouble::Absent(error.to_string()),
        other => Trouble::Driver(other.to_string()),
    }
}
