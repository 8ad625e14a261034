//! `convoke call`.

use crate::story::Story;

#[test]
fn a_service_that_nobody_offers_is_told() {
    let story = Story::with_hub();
    story.run(["call", "math/add", "[1,2]"]).is(
        69,
        "",
        "convoke: call to `math/add`: nobody offers it; start a provider, or wait for one\n",
    );
    let ended = story.run(["call", "math/add", "--json"]);
    assert!(ended.stderr().starts_with("{\"error\":{\"kind\":\"NoProvider\","), "{}", ended.stderr());
}

#[test]
fn a_service_that_is_offered_later_is_waited_for() {
    let story = Story::with_hub();
    let call = story.start(["call", "echo", "7", "--wait"]);
    story.until(["list", "services"], |services| services.starts_with("echo  0  1"));
    let _echo = story.serve(["echo", "--", "cat"]);
    call.ended().is(0, "7\n", "");
    let never = story.run(["call", "nobody", "--wait", "--timeout", "300ms"]);
    assert_eq!((never.code(), never.stderr().lines().count()), (69, 1), "{}", never.stderr());
}

#[test]
fn json_tells_the_encoding() {
    let story = Story::with_hub();
    let _echo = story.serve(["echo", "--", "cat"]);
    story.run(["call", "echo", "[1.50]", "--json"]).is(0, "{\"encoding\":\"json\",\"payload\":[1.50]}\n", "");
    story.run(["call", "echo", "x", "--json"]).is(0, "{\"encoding\":\"text\",\"payload\":\"x\"}\n", "");
}

#[test]
fn the_caller_says_who_shall_do_it() {
    let story = Story::with_hub();
    let _one = story.serve(["who", "--name", "one", "--", "echo", "1"]);
    let _two = story.serve(["who", "--name", "two", "--", "echo", "2"]);
    story.run(["call", "who", "--select", "node:one"]).is(0, "1\n", "");
    story.run(["call", "who", "--select", "node:two"]).is(0, "2\n", "");
    story.run(["call", "who", "--select", "first"]).is(0, "1\n", "");
    let turns: String = (0..4).map(|_| story.run(["call", "who", "--select", "round-robin"]).stdout()).collect();
    assert!(["1\n2\n1\n2\n", "2\n1\n2\n1\n"].contains(&turns.as_str()), "{turns}");
    for select in ["random", "least-busy", "cpu-usage", "free-ram"] {
        assert_eq!(story.run(["call", "who", "--select", select]).code(), 0, "{select}");
    }
    story.run(["call", "who", "--select", "node:three"]).is(
        69,
        "",
        "convoke: call to `who`: 2 nodes offer it, and none fits `node:three`; select otherwise, or wait for one that fits\n",
    );
    assert_eq!(story.run(["call", "who", "--select", "fastest"]).code(), 64);
}

#[test]
fn a_master_is_who_was_started_as_one_that_may_be() {
    let story = Story::with_hub();
    let _one = story.serve(["who", "--name", "one", "--", "echo", "1"]);
    let nobody = "1 node offers it, and does not fit `master`; select otherwise, or wait for one that fits";
    story.run(["call", "who", "--select", "master"]).is(69, "", &format!("convoke: call to `who`: {nobody}\n"));
    let _two = story.serve(["who", "--name", "two", "--master", "may", "--", "echo", "2"]);
    let _three = story.serve(["who", "--name", "three", "--master", "may", "--", "echo", "3"]);
    story.run(["call", "who", "--select", "master"]).is(0, "2\n", "");
    let _four = story.serve(["who", "--name", "four", "--master", "must", "--", "echo", "4"]);
    story.run(["call", "who", "--select", "master"]).is(0, "4\n", "");
    let wrong = story.run(["serve", "who", "--master", "perhaps", "--", "cat"]);
    assert_eq!(wrong.code(), 64);
    assert!(wrong.stderr().contains("may, must, never"), "{}", wrong.stderr());
}

#[test]
fn everybody_is_called() {
    let story = Story::with_hub();
    let _b = story.serve(["who", "--name", "b", "--", "cat"]);
    let a = story.serve(["who", "--name", "a/1", "--", "cat"]);
    story.run(["call", "who", "[1, 2]", "--all"]).is(0, "a/1 [1, 2]\nb [1, 2]\n", "");
    let _c = story.serve(["who", "--name", "c", "--", "sh", "-c", "exit 3"]);
    drop(a);
    let _a = story.serve(["who", "--name", "a", "--", "cat"]);
    story.until(["locate", "who"], |providers| !providers.contains("a/1"));
    story.run(["call", "who", "x", "--all"]).is(
        69,
        "a x\nb x\n",
        "c error: exit 3\nconvoke: call of `who`: 1 of 3 providers have not done it\n",
    );
    let json = story.run(["call", "who", "x", "--all", "--json"]);
    assert_eq!(
        json.stdout(),
        "{\"node\":\"a\",\"encoding\":\"text\",\"payload\":\"x\"}\n\
         {\"node\":\"b\",\"encoding\":\"text\",\"payload\":\"x\"}\n\
         {\"node\":\"c\",\"error\":{\"kind\":\"Failed\",\"message\":\"exit 3\"}}\n"
    );
    assert_eq!(json.code(), 69);
}

#[test]
fn nobody_at_all_is_told() {
    let story = Story::with_hub();
    story.run(["call", "who", "--all"]).is(69, "", "convoke: call of `who`: nobody offers it\n");
}

#[test]
fn nothing_in_an_answer_acts_on_the_terminal() {
    let story = Story::with_hub();
    let _evil = story.serve(["evil", "--", "printf", "\\033[2J"]);
    story.run(["call", "evil"]).is(0, "\\u001b[2J\n", "");
    let _words = story.serve(["words", "--", "sh", "-c", "printf '\\033[2J' >&2; exit 1"]);
    story.run(["call", "words"]).is(65, "", "convoke: exit 1: \\u001b[2J\n");
}
