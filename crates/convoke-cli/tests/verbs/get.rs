//! `convoke get`.

use crate::story::Story;

fn with_values(values: &[[&str; 2]]) -> Story {
    let story = Story::with_hub();
    for [name, payload] in values {
        assert_eq!(story.run(["set", name, payload]).code(), 0);
    }
    story
}

#[test]
fn a_name_gives_its_payload_alone() {
    let story = with_values(&[["a", "{\"x\": 1}"], ["b", "two\nlines"], ["c", ""]]);
    story.run(["get", "a"]).is(0, "{\"x\": 1}\n", "");
    story.run(["get", "b"]).is(0, "two\\nlines\n", "");
    story.run(["get", "c"]).is(0, "\n", "");
}

#[test]
fn a_name_without_a_value_is_told() {
    let story = with_values(&[["a/b", "1"]]);
    story.run(["get", "a"]).is(69, "", "convoke: get of `a`: it has no value\n");
    story.run(["get", "a", "--json"]).is(
        69,
        "",
        "{\"error\":{\"kind\":\"NoValue\",\"message\":\"get of `a`: it has no value\"}}\n",
    );
}

#[test]
fn a_pattern_gives_lines_in_the_order_of_their_names() {
    let story = with_values(&[["press/2/force", "2"], ["press/1/force", "1"], ["press/1", "x"], ["line", "y"]]);
    story.run(["get", "press/#"]).is(0, "press/1 x\npress/1/force 1\npress/2/force 2\n", "");
    story.run(["get", "press/+/force"]).is(0, "press/1/force 1\npress/2/force 2\n", "");
    story.run(["get", "nobody/#"]).is(0, "", "");
}

#[test]
fn json_tells_all_that_is_known() {
    let story = Story::with_hub();
    let rev = story.run(["set", "a", "[1]", "--author", "eve"]).stdout();
    let shown =
        |payload: &str| format!("{{\"name\":\"a\",\"rev\":\"{}\",\"author\":\"eve\",{payload}}}\n", rev.trim_end());
    let json = shown(r#""encoding":"json","payload":[1]"#);
    story.run(["get", "a", "--json"]).is(0, &json, "");
    story.run(["get", "#", "--json"]).is(0, &json, "");
}

#[test]
fn a_tree_is_composed_of_flat_names() {
    let story = with_values(&[["recipe/oven/heat", "180"], ["recipe/steps", "[\"heat\"]"], ["recipe", "bread"]]);
    story.run(["get", "recipe/#", "--tree"]).is(
        0,
        "{\"\":\"bread\",\"oven\":{\"heat\":180},\"steps\":[\"heat\"]}\n",
        "",
    );
    story.run(["get", "#", "--tree"]).is(
        0,
        "{\"recipe\":{\"\":\"bread\",\"oven\":{\"heat\":180},\"steps\":[\"heat\"]}}\n",
        "",
    );
    story.run(["get", "recipe/+/heat", "--tree"]).is(0, "{\"oven\":{\"heat\":180}}\n", "");
    story.run(["get", "nobody/#", "--tree"]).is(0, "null\n", "");
}

#[test]
fn raw_gives_the_bytes() {
    let story = Story::with_hub();
    let file = story.file("image", b"\x00\xff\n");
    assert_eq!(story.run(["set", "image", "--raw", &file]).code(), 0);
    let ended = story.run(["get", "image", "--raw"]);
    assert_eq!((ended.code(), ended.stdout_bytes()), (0, &b"\x00\xff\n"[..]));
}

#[test]
fn nothing_in_a_value_acts_on_the_terminal() {
    let story = with_values(&[["a", "\u{1b}[2J"], ["b", "{\"\u{202e}x\": 1}"]]);
    story.run(["get", "#"]).is(0, "a \\u001b[2J\nb {\"\\u202ex\": 1}\n", "");
    story.run(["get", "#", "--tree"]).is(0, "{\"a\":\"\\u001b[2J\",\"b\":{\"\\u202ex\":1}}\n", "");
}

#[test]
fn values_survive_a_hub_that_is_killed() {
    let mut story = with_values(&[["a", "1"]]);
    let address = story.address().to_owned();
    story.kill_hub();
    story.start_hub(&address);
    story.run(["get", "a"]).is(0, "1\n", "");
}
