//! `convoke wait`.

use crate::story::Story;

#[test]
fn it_ends_when_the_value_is_so() {
    let story = Story::with_hub();
    assert_eq!(story.run(["set", "line/state", "\"busy\""]).code(), 0);
    let wait = story.start(["wait", "line/state", "\"ready\"", "-v"]);
    wait.says(" INFO waiting");
    assert_eq!(story.run(["set", "line/state", "\"idle\""]).code(), 0);
    assert_eq!(story.run(["set", "line/state", "\"ready\""]).code(), 0);
    wait.ended().is(0, "\"ready\"\n", "");
}

#[test]
fn json_is_compared_by_what_it_means() {
    let story = Story::with_hub();
    assert_eq!(story.run(["set", "a", "{\"x\": [1, 2.0], \"y\": null}"]).code(), 0);
    story.run(["wait", "a", "{\"y\":null,\"x\":[1.0,2]}"]).is(0, "{\"x\": [1, 2.0], \"y\": null}\n", "");
    assert_eq!(story.run(["set", "b", "ready"]).code(), 0);
    story.run(["wait", "b", "\"ready\""]).is(0, "ready\n", "");
}

#[test]
fn without_a_payload_any_value_will_do() {
    let story = Story::with_hub();
    let wait = story.start(["wait", "a", "--json", "-v"]);
    wait.says(" INFO waiting");
    let rev = story.run(["set", "a", "7", "--author", "eve"]).stdout();
    let expected = format!(
        "{{\"name\":\"a\",\"rev\":\"{}\",\"author\":\"eve\",\"encoding\":\"json\",\"payload\":7}}\n",
        rev.trim_end()
    );
    wait.ended().is(0, &expected, "");
}

#[test]
fn what_it_was_last_is_told() {
    let story = Story::with_hub();
    story.run(["wait", "a", "1", "--timeout", "300ms"]).is(
        69,
        "",
        "convoke: wait for `a`: it has not become `1` within 300 ms; it has no value\n",
    );
    story.run(["wait", "a", "--timeout", "300ms"]).is(
        69,
        "",
        "convoke: wait for `a`: it has got no value within 300 ms\n",
    );
    assert_eq!(story.run(["set", "a", "two"]).code(), 0);
    story.run(["wait", "a", "1", "--timeout", "300ms"]).is(
        69,
        "",
        "convoke: wait for `a`: it has not become `1` within 300 ms; it is `two`\n",
    );
}

#[test]
fn no_time_at_all_is_refused() {
    let story = Story::without_hub();
    story.run(["wait", "a", "1", "--timeout", "0s"]).is(
        64,
        "",
        "convoke: invalid value '0s' for '--timeout <TIME>': no time at all is too short for anything: give at least `1ms`; \
         see `convoke wait --help`\n",
    );
}

/// It said that there is no value, although nobody had told.
#[test]
fn what_a_hub_that_stands_still_has_not_told_is_not_made_up() {
    let story = Story::with_hub();
    let wait = story.start(["wait", "a", "1", "--timeout", "500ms", "-vv"]);
    wait.says("has joined");
    story.hub().signal(rustix::process::Signal::STOP);
    let ended = wait.ended();
    story.hub().signal(rustix::process::Signal::CONT);
    let said = ended.stderr();
    let last = said.lines().last().unwrap();
    // It may have been told before the hub stood still.
    let told = "convoke: wait for `a`: it has not become `1` within 500 ms; it has no value";
    let untold = "convoke: wait for `a`: the hub has not told within 500 ms what it is";
    assert!(ended.code() == 69 && (last == told || last == untold), "{said}");
}
