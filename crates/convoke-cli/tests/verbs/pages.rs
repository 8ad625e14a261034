//! What the README and the guide tell people to type works as it stands there.

use std::fs;
use std::path::Path;

use crate::story::Story;

const PAGES: [&str; 20] = [
    "README.md",
    "docs/guide/first-steps.md",
    "docs/guide/events.md",
    "docs/guide/values.md",
    "docs/guide/services.md",
    "docs/guide/commands.md",
    "docs/guide/members.md",
    "docs/guide/permanent-links.md",
    "docs/guide/offline.md",
    "docs/guide/joining.md",
    "docs/guide/rights.md",
    "docs/guide/two-machines.md",
    "docs/guide/uplinks.md",
    "docs/guide/in-one-program.md",
    "docs/guide/in-the-shell.md",
    "docs/operating.md",
    "docs/metrics.md",
    "docs/coming-from/client-dispatcher-server.md",
    "docs/coming-from/distributed-command-pattern.md",
    "docs/coming-from/ordered-star-server.md",
];

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// The words of a line as a shell would pass them on, up to a comment or a pipe.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
            continue;
        }
        for word in part.split_whitespace() {
            if word == "#" || word == "|" {
                return words;
            }
            words.push(word.to_owned());
        }
    }
    words
}

/// The arguments of every `convoke …` in the shell blocks of a page.
fn typed(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("convoke "));
    lines.map(words).collect()
}

#[test]
fn what_the_pages_tell_to_type_works() {
    // What the pages suppose: a hub with a certificate, a photo, a script, the hub's token, and a node to ping.
    let mut story = Story::without_hub();
    let page_of_tls = typed(&page("docs/guide/two-machines.md"));
    let init = page_of_tls.iter().find(|line| line[..2] == ["tls", "init"]).unwrap();
    assert_eq!(story.run(init).code(), 0);
    story.start_hub("127.0.0.1:0");
    fs::copy(story.path("state/convoke/tls/authority.pem"), story.path("authority.pem")).unwrap();
    story.file("add.sh", b"tr -d '[]' | { IFS=, read a b; echo $((a + b)); }");
    story.file("photo.jpg", b"\xff\xd8\xff");
    fs::copy(story.path("state/convoke/admin.token"), story.path("admin.token")).unwrap();
    let _press = story.subscribe(["press/1/closed", "--name", "press-1"]);
    let (mut ran, mut serving) = (0, Vec::new());
    for line in PAGES.iter().flat_map(|name| typed(&page(name))) {
        if line == *init {
            continue;
        }
        // The other machine is this one.
        let line: Vec<String> =
            line.iter().map(|word| word.replace("press-hall.example:7117", story.address())).collect();
        let mut arguments: Vec<&str> = line.iter().map(String::as_str).collect();
        match arguments[0] {
            // The story has one.
            "hub" => continue,
            // Nobody is there to press Ctrl-C.
            "subscribe" | "watch" => {
                arguments.retain(|argument| !["--idle", "2s"].contains(argument));
                arguments.extend(["--idle", "10ms"]);
            }
            "journal" if arguments[1] == "follow" => arguments.extend(["--idle", "10ms"]),
            // In another terminal.
            "serve" => {
                serving.push(story.serve(arguments[1..].iter().copied()));
                continue;
            }
            _ => {}
        }
        let ended = story.run(&arguments);
        assert_eq!(ended.code(), 0, "convoke {}: {}", line.join(" "), ended.stderr());
        ran += 1;
    }
    assert!(ran > 8, "{ran} lines were found");
}

#[test]
fn the_table_of_verbs_names_what_there_is() {
    let story = Story::without_hub();
    let readme = page("README.md");
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `convoke ")).collect();
    for verb in story.verbs().iter().filter(|verb| *verb != "help") {
        let row = rows.iter().find(|row| row.starts_with(&format!("| `convoke {verb}")));
        let row = row.unwrap_or_else(|| panic!("the README has no row for `{verb}`"));
        let help = story.run([verb.as_str(), "--help"]).stdout();
        for option in row.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "`convoke {verb}` has no {option}");
        }
    }
}
