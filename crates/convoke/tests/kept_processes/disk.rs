//! Story: the disk that a hub keeps its values on is full, for real.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use convoke::{Code, Outcome, Token};

use super::support::hub_process::HubProcess;
use super::support::*;

/// How big the disk is, in MiB: the hub's folder and some values.
const DISK_MIB: u64 = 24;

/// Whether a process may have disks of its own here.
fn can_mount() -> bool {
    let command = "mount -t tmpfs -o size=1m none /mnt";
    let tried = Command::new("unshare").args(["-rm", "sh", "-c", command]).output();
    let allowed = tried.as_ref().is_ok_and(|tried| tried.status.success());
    if !allowed {
        println!("skipped: this machine does not let a test mount a disk of its own: {tried:?}");
    }
    allowed
}

#[tokio::test]
async fn a_hub_on_a_disk_without_room_is_read_from_and_heals_when_there_is_some() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let data = disk.join("data").display().to_string();
    let mount = format!("size={DISK_MIB}m {}", disk.display());
    let hub = HubProcess::start(&[("DATA", &data), ("MOUNT", &mount)]).await;
    // Only the hub sees its disk; others see it through the hub.
    let seen = |path: PathBuf| PathBuf::from(format!("/proc/{}/root{}", hub.process.pid(), path.display()));
    let mut options = hub.options_with(Token::read(seen(disk.join("data/admin.token"))).unwrap(), "press");
    options.timeout = PATIENCE;
    let press = convoke::Node::connect_with(&hub.address, options).await.unwrap();

    let long = "x".repeat(100_000);
    for n in 0..10 {
        soon(press.set(format!("long/{n}"), &long)).await.unwrap();
    }
    // Somebody else takes all that is left.
    let filler = seen(disk.join("filler"));
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 64 << 10]).is_ok() {}
    let mut kept = 10;
    let error = loop {
        match soon(press.set(format!("long/{kept}"), &long)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10 * DISK_MIB, "the disk is not full");
    };
    assert_eq!((error.code(), error.outcome()), (Code::StorageFull, Outcome::NotDone), "{error}");
    for n in 0..kept {
        assert_eq!(soon(press.get(format!("long/{n}"))).await.unwrap(), Some(long.clone()));
    }
    assert_eq!(soon(press.get::<String>(format!("long/{kept}"))).await.unwrap(), None);
    let again = soon(press.set(format!("long/{kept}"), &long)).await.unwrap_err();
    assert_eq!((again.code(), again.outcome()), (Code::StorageFull, Outcome::NotDone), "{again}");

    std::fs::remove_file(&filler).unwrap();
    drop(file);
    soon(press.set(format!("long/{kept}"), &long)).await.unwrap();
    assert_eq!(soon(press.values("long/+")).await.unwrap().len() as u64, kept + 1);
}
