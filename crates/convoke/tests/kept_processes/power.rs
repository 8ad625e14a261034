//! Story: the power goes, again and again. What was acknowledged is there; what was not is there wholly or not at all.

use std::sync::atomic::{AtomicU64, Ordering};

use super::checker;
use super::support::disk::{ImageDisk, Leaves, TrickyDisk};
use super::support::hub_process::HubProcess;
use super::support::*;
use super::writer::{self, Writer};
use super::{END, all_changes, eight_writers, watch_all};

/// How often the power is cut.
const CUTS: u64 = 12;

/// How often with a file system beneath, each time of which an image is copied.
const IMAGE_CUTS: u64 = 10;

/// How big that is, in MiB.
const IMAGE_MIB: u64 = 64;

#[tokio::test]
async fn what_eight_writers_were_told_is_so_although_the_disk_forgot_what_was_not_synced() {
    let Some(disk) = TrickyDisk::new() else { return };
    eight_writers(HubProcess::start_on(&disk).await, CUTS, async |hub, cut| {
        hub.restart_after(|| disk.cut(Leaves::in_turn(cut))).await
    })
    .await;
}

/// The test above can fail.
#[tokio::test]
async fn a_disk_that_only_says_that_it_has_synced_is_found_out() {
    let Some(disk) = TrickyDisk::new() else { return };
    let hub = HubProcess::start_on(&disk).await;
    let histories = hub.folder.path().join("histories");
    std::fs::create_dir(&histories).unwrap();
    let known = soon(hub.node("panel").await.set("half", &0)).await.unwrap();
    let mut writer = Writer::new(hub.node("writer").await, &histories);
    let (acknowledged, enough) = (AtomicU64::new(0), histories.clone());
    let writing = async {
        writer.write_until_enough(&acknowledged).await;
    };
    let watching = async {
        until("some is acknowledged", || acknowledged.load(Ordering::SeqCst) > 100).await;
        disk.lies();
        let before = acknowledged.load(Ordering::SeqCst);
        until("more is acknowledged", || acknowledged.load(Ordering::SeqCst) > before + 100).await;
        Writer::enough(&enough);
    };
    tokio::join!(writing, watching);
    drop(writer);
    let hub = hub.restart_after(|| disk.cut(Leaves::Nothing)).await;

    let late = hub.node("late").await;
    let watch = watch_all(&late, Some(known)).await;
    soon(late.set(END, &0)).await.unwrap();
    let seen = soon(all_changes(watch)).await;
    assert!(seen.len() > 100, "what was acknowledged before is there");
    let values: Vec<_> = soon(late.values("#")).await.unwrap();
    let values: Vec<_> = values.into_iter().filter(|value| value.name.as_str() != "half").collect();
    let histories = writer::histories(&histories);
    let found = std::panic::catch_unwind(|| checker::check(&histories, &seen, &values));
    let said = found.expect_err("what was acknowledged is gone").downcast::<String>().unwrap();
    assert!(said.contains("was acknowledged and never seen"), "{said}");
}

/// With a file system beneath that has a journal and a will of its own. What it has not handed to its device, a file, is
/// only in memory.
#[tokio::test]
async fn what_eight_writers_were_told_is_so_on_copies_of_the_image_of_their_hubs_disk() {
    let Some(mut disk) = ImageDisk::new(IMAGE_MIB) else { return };
    let hub = HubProcess::start(&[("DATA", &disk.data().display().to_string())]).await;
    eight_writers(hub, IMAGE_CUTS, async |hub, _| hub.restart_on_copy(&mut disk).await).await;
}
