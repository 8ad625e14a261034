//! `convoke demo`.

use crate::story::Story;

#[test]
fn the_demo_ends_by_itself_and_shows_what_each_program_sees() {
    let story = Story::without_hub();
    let ended = story.run(["demo"]);
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
    for line in [
        "panel    sees press/1/opened {\"force\":12.5} from press-1\n",
        "panel    sees 10000 parts, all of them and in the order they were made",
        "slow     wakes and is told that it lost ",
        "you      convoke subscribe 'press/#'\n",
    ] {
        assert!(ended.stdout().contains(line), "{line}: {}", ended.stdout());
    }
    assert!(!story.path("state").exists() && !story.path("run").exists(), "it keeps nothing");
}

#[test]
fn the_demo_as_json_is_an_object_a_line() {
    let ended = Story::without_hub().run(["demo", "--json"]);
    assert_eq!(ended.code(), 0);
    for line in ended.stdout().lines() {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(said["program"].is_string() && said["says"].is_string(), "{line}");
    }
}
