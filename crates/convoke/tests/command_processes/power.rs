//! Story: the power goes, or the disk fails or is full, again and again, while eight append and eight follow.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::support::disk::{Leaves, SmallDisk, TrickyDisk, copy_while_nobody_writes, folder_for_images};
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

/// What of that which was not synced is there again.
fn leaves(cut: u64) -> Leaves {
    match cut % 3 {
        0 => Leaves::Nothing,
        1 => Leaves::Some(cut),
        _ => Leaves::All,
    }
}

#[tokio::test]
async fn what_eight_writers_appended_is_there_although_the_disk_forgot_what_was_not_synced() {
    let Some(disk) = TrickyDisk::new() else { return };
    let hub = HubProcess::start_on(&disk).await;
    eight_and_eight(hub, CUTS, COMMANDS, async |hub, cut, _| hub.restart_after(|| disk.cut(leaves(cut))).await).await;
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
            disk.cut(leaves(cut / 3));
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
    let folder = folder_for_images();
    let image = |n: u64| folder.path().join(format!("{n}.img"));
    let Some(disk) = SmallDisk::image(&image(0), IMAGE_MIB) else { return };
    // The one that the hub uses now.
    let data = folder.path().join("disk");
    let change = |disk: &SmallDisk| {
        let _ = std::fs::remove_file(&data);
        std::os::unix::fs::symlink(disk.path(), &data).unwrap();
    };
    change(&disk);
    let hub = HubProcess::start(&[("DATA", &data.join("data").display().to_string())]).await;
    let mut disk = Some(disk);
    eight_and_eight(hub, IMAGE_CUTS, COMMANDS, async |hub, cut, _| {
        hub.process.stop().await;
        copy_while_nobody_writes(&image(cut), &image(cut + 1));
        hub.restart_after(|| {
            drop(disk.take());
            std::fs::remove_file(image(cut)).unwrap();
            let next = SmallDisk::mount_image(&image(cut + 1)).expect("it can be mounted, as the one before");
            change(&next);
            disk = Some(next);
        })
        .await
    })
    .await;
}
