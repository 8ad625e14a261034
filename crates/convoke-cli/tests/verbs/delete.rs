//! `convoke delete`.

use crate::story::Story;

#[test]
fn what_is_deleted_is_gone() {
    let story = Story::with_hub();
    let set: u64 = story.run(["set", "a", "1"]).stdout().trim().parse().unwrap();
    let deleted = story.run(["delete", "a"]);
    assert_eq!((deleted.code(), deleted.stderr()), (0, String::new()));
    assert!(deleted.stdout().trim().parse::<u64>().unwrap() > set);
    story.run(["get", "a"]).is(69, "", "convoke: get of `a`: it has no value\n");
}

#[test]
fn what_is_not_there_cannot_be_deleted() {
    let story = Story::with_hub();
    story.run(["delete", "a"]).is(69, "", "convoke: delete of `a`: it has no value\n");
    story.run(["delete", "a/#"]).is(0, "0\n", "");
}

#[test]
fn all_that_matches_is_deleted() {
    let story = Story::with_hub();
    for name in ["recipe", "recipe/steps", "recipes"] {
        assert_eq!(story.run(["set", name, "1"]).code(), 0);
    }
    story.run(["delete", "recipe/#", "--json"]).is(0, "{\"count\":2}\n", "");
    story.run(["get", "#"]).is(0, "recipes 1\n", "");
}

#[test]
fn only_what_was_seen_is_deleted() {
    let story = Story::with_hub();
    let first = story.run(["set", "a", "1"]).stdout();
    let second = story.run(["set", "a", "2"]).stdout();
    let refused = story.run(["delete", "a", "--if-rev", first.trim()]);
    assert_eq!((refused.code(), refused.stdout()), (75, String::new()), "{}", refused.stderr());
    story.run(["get", "a"]).is(0, "2\n", "");
    assert_eq!(story.run(["delete", "a", "--if-rev", second.trim()]).code(), 0);
    Story::without_hub().run(["delete", "a/#", "--if-rev", "1"]).is(
        64,
        "",
        "convoke: `a/#` is a pattern, and --if-rev is for one value\n",
    );
}
