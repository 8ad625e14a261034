//! What a node tells about itself: its host, its program, and how busy both are.
//!
//! The load is that of the process, whatever its nodes are called, so all of them share one sample, taken on a thread for
//! what blocks. A node tells it once, some time after it has joined, and from then on only while others choose by it.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use convoke_core::{InfoOwned, MasterWish};
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Inner, NodeShared};

/// From joining to when the load is told: programs that come and go at once need not look at theirs.
const FIRST: Duration = Duration::from_secs(1);

/// How often a node that offers a service looks whether its load has changed.
const AGAIN: Duration = Duration::from_secs(10);

/// What a sample is good for.
const FRESH: Duration = Duration::from_secs(5);

/// Processors must be this much more or less busy to be told again, in thousandths.
const CPU_CHANGE_PERMILLE: u32 = 50;

/// How busy the host and this process are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    cpu_permille: u32,
    own_cpu_permille: u32,
    memory: u64,
    free_memory: u64,
}

/// When a node tells its load next.
pub(super) struct Telling {
    /// It does at all.
    pub(super) on: bool,
    pub(super) info: InfoOwned,
    /// When it looks again; `None` while it is not joined.
    next: Option<Instant>,
    /// It has told its load since it was started.
    told: bool,
}

impl Telling {
    pub(super) fn new(on: bool, program: Option<String>, master: MasterWish) -> Telling {
        let (host, own_program) = lasting();
        let program = program.unwrap_or_else(|| own_program.clone());
        let info = InfoOwned { host: host.clone(), pid: std::process::id(), program, master, ..InfoOwned::default() };
        Telling { on, info, next: None, told: false }
    }
}

/// The names of the host and of the program, which do not change.
fn lasting() -> &'static (String, String) {
    static LASTING: OnceLock<(String, String)> = OnceLock::new();
    LASTING.get_or_init(|| {
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(|path| path.file_stem()).unwrap_or_default();
        (System::host_name().unwrap_or_default(), program.to_string_lossy().into_owned())
    })
}

/// After a turn of its link: lets a node tell its load if it is time to.
pub(super) fn tell_in_time(inner: &mut Inner, shared: &Arc<NodeShared>) {
    let (joined, provider) = (inner.state.is_joined(), inner.state.is_provider());
    let telling = &mut inner.telling;
    if !telling.on || !joined {
        telling.next = None;
        return;
    }
    if telling.told && !provider {
        return;
    }
    let now = Instant::now();
    if now < *telling.next.get_or_insert(now + FIRST) {
        return;
    }
    telling.next = Some(now + AGAIN);
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        let Some(load) = sample().await else { return };
        if let Some(shared) = shared.upgrade() {
            shared.tell(load);
        }
    });
}

impl NodeShared {
    fn tell(&self, load: Load) {
        let mut inner = self.lock();
        let telling = &mut inner.telling;
        let info = &mut telling.info;
        if std::mem::replace(&mut telling.told, true) && !is_news(info, load) {
            return;
        }
        (info.cpu_permille, info.own_cpu_permille) = (load.cpu_permille, load.own_cpu_permille);
        (info.memory, info.free_memory) = (load.memory, load.free_memory);
        let info = info.clone();
        inner.state.set_info(info);
        self.flush(inner);
    }
}

/// Whether somebody who chooses by it would want to know.
fn is_news(info: &InfoOwned, load: Load) -> bool {
    let cpu = |one: u32, other: u32| one.abs_diff(other) >= CPU_CHANGE_PERMILLE;
    let memory = |one: u64, other: u64| one.abs_diff(other) > one / 10;
    cpu(info.cpu_permille, load.cpu_permille)
        || cpu(info.own_cpu_permille, load.own_cpu_permille)
        || memory(info.memory, load.memory)
        || memory(info.free_memory, load.free_memory)
}

/// What was measured last, for all nodes of this process.
struct Sampler {
    system: System,
    at: Instant,
    /// What this process had used of processors by then, in milliseconds.
    used_ms: u64,
    /// `None` after the first look.
    load: Option<Load>,
}

/// The load now, or as it was some seconds ago. `None` where the system does not tell.
async fn sample() -> Option<Load> {
    let measure = || tokio::task::spawn_blocking(measure);
    match measure().await.ok()? {
        Measured::Load(load) => Some(load),
        // How busy a processor is shows between two looks.
        Measured::Begun => {
            tokio::time::sleep(MINIMUM_CPU_UPDATE_INTERVAL * 2).await;
            match measure().await.ok()? {
                Measured::Load(load) => Some(load),
                Measured::Begun | Measured::Nothing => None,
            }
        }
        Measured::Nothing => None,
    }
}

#[derive(Debug)]
enum Measured {
    Load(Load),
    Begun,
    Nothing,
}

/// Looks once; a few reads of small files. Holds the lock meanwhile, which nobody waits for but others who look.
fn measure() -> Measured {
    static SAMPLER: Mutex<Option<Sampler>> = Mutex::new(None);
    let mut sampler = SAMPLER.lock().expect("nothing in it panics");
    let known = match &mut *sampler {
        Some(known) => known,
        none => {
            let Ok(system) = System::new() else { return Measured::Nothing };
            none.insert(Sampler { system, at: Instant::now(), used_ms: 0, load: None })
        }
    };
    if known.load.is_none() || known.at.elapsed() >= FRESH {
        known.look();
    }
    known.load.map_or(Measured::Begun, Measured::Load)
}

impl Sampler {
    fn look(&mut self) {
        let own = Pid::from_u32(std::process::id());
        let system = &mut self.system;
        let first = system.cpus().is_empty();
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
        let process = system.process(own);
        let used_ms = process.map_or(0, sysinfo::Process::accumulated_cpu_time);
        let passed_ms = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.at = Instant::now();
        let own_cpu = used_ms.saturating_sub(self.used_ms) * 1000 / passed_ms;
        self.used_ms = used_ms;
        self.load = (!first).then(|| Load {
            cpu_permille: ((system.global_cpu_usage() * 10.0).round() as u32).min(1000),
            own_cpu_permille: u32::try_from(own_cpu).unwrap_or(u32::MAX),
            memory: process.map_or(0, sysinfo::Process::memory),
            free_memory: system.available_memory(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_load_of_this_process_is_measured() {
        // Busy for as long as it is looked at, however long that takes on a busy machine.
        let enough = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = enough.clone();
        let busy = tokio::task::spawn_blocking(move || {
            let mut sum = 0u64;
            while !told.load(std::sync::atomic::Ordering::Relaxed) {
                sum = sum.wrapping_add(1);
            }
            sum
        });
        let load = sample().await.unwrap();
        enough.store(true, std::sync::atomic::Ordering::Relaxed);
        busy.await.unwrap();
        assert!(load.memory > 100_000 && load.free_memory > 1_000_000, "{load:?}");
        assert!(load.own_cpu_permille > 0 && load.cpu_permille > 0 && load.cpu_permille <= 1000, "{load:?}");
        // Others who ask soon are told the same.
        assert_eq!(sample().await, Some(load));
    }

    #[test]
    fn only_what_somebody_would_want_to_know_is_news() {
        let info = InfoOwned { cpu_permille: 500, memory: 1000, free_memory: 1_000_000, ..InfoOwned::default() };
        let load = Load { cpu_permille: 500, own_cpu_permille: 0, memory: 1000, free_memory: 1_000_000 };
        assert!(!is_news(&info, load));
        assert!(!is_news(&info, Load { cpu_permille: 549, own_cpu_permille: 49, memory: 1100, free_memory: 900_000 }));
        assert!(is_news(&info, Load { cpu_permille: 450, ..load }));
        assert!(is_news(&info, Load { own_cpu_permille: 50, ..load }));
        assert!(is_news(&info, Load { memory: 1101, ..load }));
        assert!(is_news(&info, Load { free_memory: 899_999, ..load }));
    }
}
