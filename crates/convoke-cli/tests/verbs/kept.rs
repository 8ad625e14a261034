//! What `set` has printed is there, whatever becomes of the hub.

use crate::story::{Running, Story};

/// How often the hub is killed.
const KILLS: usize = 8;

/// How many `set` run at the same time.
const AT_ONCE: usize = 6;

#[test]
fn what_set_has_printed_is_there_after_the_hub_was_killed_under_it() {
    let mut story = Story::with_hub();
    let mut printed = 0;
    for kill in 0..KILLS {
        let key = |n: usize| format!("kept/{kill}/{n}");
        let mut sets: Vec<Running> =
            (0..AT_ONCE).map(|n| story.start(["set", &key(n), &format!("{kill} {n}")])).collect();
        // Sooner or later: when as many have printed as it is killed for the first, the second time.
        for set in sets.iter().take(kill % AT_ONCE) {
            set.prints("\n");
        }
        story.kill_hub();
        let address = story.address().to_owned();
        story.start_hub(&address);
        for (n, set) in sets.drain(..).enumerate() {
            let ended = set.ended();
            let get = story.run(["get", &key(n)]);
            if ended.stdout().is_empty() {
                assert_ne!(ended.code(), 0, "who prints nothing has failed");
                assert!([0, 69].contains(&get.code()), "{}", get.stderr());
            } else {
                assert_eq!(ended.code(), 0, "{}", ended.stderr());
                get.is(0, &format!("{kill} {n}\n"), "");
                printed += 1;
            }
        }
    }
    assert!(printed > KILLS, "only {printed} were done");
    // And all of them at the end.
    let all = story.run(["get", "kept/#"]).stdout();
    assert!(all.lines().count() >= printed, "{all}");
}
