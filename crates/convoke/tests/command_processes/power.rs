//! Story: the power goes, or the disk fails or is full, again and again, while eight append and eight follow.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::support::disk::{ImageDisk, Leaves, TrickyDisk};
use super::support::hub_process::HubProcess;
use super::support::*;
use super::writer::{Common, Writer};
use super::{END, JOURNAL, checker, eight_and_eight, got};

/// How often the power is cut, or the disk fails.
const CUTS: u64 = 9;

/// How often with a file system beneath, each time of which an image is copied.
const IMAGE_CUTS: u64 = 5;

/// How big that is, in MiB.
const IMAGE_MIB: u64 = 96;

/// How many commands are acknowledged at the end, at least.
const COMMANDS: u64 = 10_000;

#[tokio::test]
async fn what_eight_writers_appended_is_there_although_the_disk_forgot_what_was_not_synced() {
    let Some(disk) = TrickyDisk::new() else { return };
    let hub = HubProcess::start_on(&disk).await;
    eight_and_eight(hub, CUTS, COMMANDS, async |hub, cut, _| {
        hub.restart_after(|| disk.cut(Leaves::in_turn(cut))).await
    })
    .await;
}

/// A hub that cannot write or sync acknowledges nothing more, and ends. One whose disk has no room refuses, and goes on.
#[tokio::test]
async fn what_eight_writers_appended_is_there_although_the_disk_failed_and_was_full() {
    let Some(disk) = TrickyDisk::new() else { return };
    let hub = HubProcess::start_on(&disk).await;
    eight_and_eight(hub, CUTS, COMMANDS, async |mut hub, cut, common| {
        if cut % 3 == 2 {
            let refused = common.refused.load(Ordering::SeqCst);
            disk.fails("write 28");
            until("something is refused", || common.refused.load(Ordering::SeqCst) > refused).await;
            disk.fails("");
            return hub;
        }
        disk.fails(["write 5", "sync 5"][cut as usize % 3]);
        assert_eq!(hub.process.says().await, "StorageFailed");
        hub.restart_after(|| {
            disk.fails("");
            disk.cut(Leaves::in_turn(cut / 3));
        })
        .await
    })
    .await;
}

/// The tests above can fail.
#[tokio::test]
async fn a_disk_that_only_says_that_it_has_synced_is_found_out() {
    let Some(disk) = TrickyDisk::new() else { return };
    let hub = HubProcess::start_on(&disk).await;
    let (histories, enough) = (hub.folder.path().join("histories"), hub.folder.path().join("enough"));
    std::fs::create_dir(&histories).unwrap();
    let common = Arc::new(Common::default());
    let mut writer = Writer::new(hub.node("here-0").await, &histories, &enough, common.clone());
    let acknowledged = || common.acknowledged.load(Ordering::SeqCst);
    tokio::join!(writer.write_until_enough(), async {
        until("some is acknowledged", || acknowledged() > 100).await;
        disk.lies();
        let before = acknowledged();
        until("more is acknowledged", || acknowledged() > before + 400).await;
        std::fs::write(&enough, "").unwrap();
    });
    drop(writer);
    let hub = hub.restart_after(|| disk.cut(Leaves::Nothing)).await;

    soon(hub.node("panel").await.append(JOURNAL, END)).await.unwrap();
    let journal = soon(got(hub.node("late").await)).await;
    assert!(journal.len() > 100, "what was acknowledged before is there");
    let found = std::panic::catch_unwind(|| checker::check(&histories, &journal, "here-"));
    let said = found.expect_err("what was acknowledged is gone").downcast::<String>().unwrap();
    assert!(said.contains("is not there") || said.contains("is not where it was told to be"), "{said}");
}

/// With a file system beneath that has a journal and a will of its own.
#[tokio::test]
async fn what_eight_writers_appended_is_there_on_copies_of_the_image_of_their_hubs_disk() {
    let Some(mut disk) = ImageDisk::new(IMAGE_MIB) else { return };
    let hub = HubProcess::start(&[("DATA", &disk.data().display().to_string())]).await;
    eight_and_eight(hub, IMAGE_CUTS, COMMANDS, async |hub, _, _| hub.restart_on_copy(&mut disk).await).await;
}
