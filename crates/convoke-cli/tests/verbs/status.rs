//! `convoke status`.

use crate::story::Story;

#[test]
fn the_hub_tells_how_it_is() {
    let story = Story::with_hub();
    let _press = story.subscribe(["#", "--name", "press-1"]);
    let status = story.run(["status"]);
    assert_eq!((status.code(), status.stderr()), (0, String::new()));
    let said = |what: &str| {
        let line = status.stdout().lines().find(|line| line.split(' ').next() == Some(what)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("nothing of {what}: {}", status.stdout()))
            .split_whitespace()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!((said("version").as_str(), said("links").as_str()), (env!("CARGO_PKG_VERSION"), "2"));
    assert_eq!(said("subscriptions"), "1");
    assert!(said("started").starts_with("20") && said("started").ends_with('Z'), "{}", status.stdout());
}

#[test]
fn json_is_one_object() {
    let story = Story::with_hub();
    let status = story.run(["status", "--json"]).stdout();
    assert!(status.starts_with("{\"hub\":\"") && status.contains(",\"links\":1,"), "{status}");
    assert!(status.contains(",\"master\":") && status.lines().count() == 1, "{status}");
}

#[test]
fn without_a_hub_that_is_told() {
    let story = Story::without_hub();
    let told = "convoke: no hub answers at HUB; start one with `convoke hub`\n";
    story.run(["status", "--timeout", "100ms"]).is(69, "", told);
}
