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
    assert!(status.stdout().lines().any(|line| line.ends_with("  2 of 10000")), "of its limit: {}", status.stdout());
    assert!(
        !status.stdout().contains("pings"),
        "nothing is said of limits of which nothing is used: {}",
        status.stdout()
    );
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
fn a_limit_that_is_nearly_reached_is_told() {
    let mut story = Story::without_hub();
    story.start_hub_with("127.0.0.1:0", &["--limits-links", "3"]);
    let links = |story: &Story| {
        let status = story.run(["status"]).stdout();
        status.lines().find(|line| line.starts_with("links ")).unwrap_or_default().to_owned()
    };
    assert!(links(&story).ends_with("  1 of 3"), "{}", links(&story));
    let _others = [(); 2].map(|()| story.subscribe(["#"]));
    assert!(links(&story).ends_with("  3 of 3, full"), "{}", links(&story));
}

#[test]
fn json_has_all_limits() {
    let story = Story::with_hub();
    let status: serde_json::Value = serde_json::from_str(&story.run(["status", "--json"]).stdout()).unwrap();
    let limits = status["limits"].as_array().unwrap();
    let pings = limits.iter().find(|limit| limit["name"] == "pings").unwrap();
    assert_eq!(pings.to_string(), r#"{"name":"pings","used":0,"most":4096,"excess":"refused"}"#);
}

#[test]
fn without_a_hub_that_is_told() {
    let story = Story::without_hub();
    let told = "convoke: no hub answers at HUB; start one with `convoke hub`\n";
    story.run(["status", "--timeout", "100ms"]).is(69, "", told);
}
