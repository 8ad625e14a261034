//! `convoke locate`.

use crate::story::Story;

#[test]
fn who_offers_a_service_is_told() {
    let story = Story::with_hub();
    let _one = story.serve(["math/add", "--name", "calc-1", "--", "cat"]);
    let _two = story.serve(["math/add", "--name", "calc/2", "--", "cat"]);
    let located = story.run(["locate", "math/add"]).stdout();
    let lines: Vec<Vec<&str>> = located.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 2, "{located}");
    let nodes = story.run(["list", "nodes"]).stdout();
    let host = nodes.split_whitespace().nth(3).unwrap();
    for (line, node) in lines.iter().zip(["calc-1", "calc/2"]) {
        assert_eq!((line.len(), line[0], line[1], line[3]), (4, node, host, "0"), "{located}");
        assert!(line[2].starts_with("20") && line[2].ends_with('Z'), "{located}");
    }
    let json = story.run(["locate", "math/add", "--json"]).stdout();
    assert!(json.starts_with("{\"node\":\"calc-1\",\"host\":\"") && json.lines().count() == 2, "{json}");
}

#[test]
fn a_service_that_nobody_offers_is_told() {
    let story = Story::with_hub();
    story.run(["locate", "math/add"]).is(69, "", "convoke: locate `math/add`: nobody offers it\n");
    let serve = story.serve(["math/add", "--count", "1", "--", "cat"]);
    story.run(["call", "math/add", "1"]).is(0, "1\n", "");
    assert_eq!(serve.ended().code(), 0);
    assert_eq!(story.run(["locate", "math/add"]).code(), 69);
}
