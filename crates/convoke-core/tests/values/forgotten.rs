//! What was answered to a node is forgotten when nobody can ask for it any more, whatever the disk had no room for.

use convoke_core::foundation::{Ask, Told};
use convoke_core::{Code, Refusal};

use crate::pair::World;
use crate::{pass, set};

/// The tables of incarnations, and of what they were answered.
const TABLES: [u8; 2] = [3, 4];

fn not_done(world: &mut World, ask: &Ask) {
    if let Ask::Append { ticket, .. } = ask {
        let why = Refusal::new(Code::StorageFull, "no room");
        world.tell(Told::NotDone { ticket: *ticket, why });
    }
}

/// Once it stayed for ever: nobody could come back as what it was, and so nobody was ever forgotten as that.
#[test]
fn what_was_answered_to_who_could_not_begin_goes_when_the_hub_starts_again() {
    let mut world = World::new(1);
    world.hold = true;
    world.nodes[0].state.write(&[set("a", "1")]).unwrap();
    world.settle();
    let mut held = std::mem::take(&mut world.held).into_iter();
    // There is no room for who it is, and then for what it writes.
    not_done(&mut world, &held.next().unwrap());
    world.held = held.collect();
    world.hold = false;
    world.settle();
    assert!(world.nodes[0].state.written_writes().remove(0).1.is_ok());
    assert_eq!(TABLES.map(|table| world.rows_kept(table)), [1, 1]);
    world.restart_hub();
    world.settle();
    assert_eq!(TABLES.map(|table| world.rows_kept(table)), [0, 0]);
    // What comes then begins anew.
    world.nodes[0].state.write(&[set("a", "2")]).unwrap();
    world.settle();
    assert!(world.nodes[0].state.written_writes().remove(0).1.is_ok());
    assert_eq!(TABLES.map(|table| world.rows_kept(table)), [1, 1]);
}

/// Once that was tried only when it left.
#[test]
fn who_leaves_while_the_disk_is_full_is_forgotten_later() {
    let mut world = World::new(2);
    for who in 0..2 {
        world.nodes[who].state.write(&[set("a", "1")]).unwrap();
    }
    world.settle();
    world.hold = true;
    let now = world.now;
    world.nodes[0].state.leave(now);
    world.settle();
    let held = std::mem::take(&mut world.held);
    held.iter().for_each(|ask| not_done(&mut world, ask));
    world.hold = false;
    world.settle();
    assert_eq!(TABLES.map(|table| world.rows_kept(table)), [2, 2]);
    pass(&mut world, 1500);
    assert_eq!(TABLES.map(|table| world.rows_kept(table)), [1, 1]);
}
