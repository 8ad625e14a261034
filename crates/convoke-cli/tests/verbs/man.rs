//! `convoke man`.

use std::fs;
use std::process::{Command, Stdio};

use crate::story::Story;

/// Every line of a page that is prose or a title, without what roff makes of it.
fn plain(page: &str) -> String {
    let lines = page.lines().map(|line| line.strip_prefix(".SH ").unwrap_or(line));
    let text: String = lines.filter(|line| !line.starts_with('.')).map(|line| format!("{line} ")).collect();
    let text = text.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    let text = text.replace("\\*(Aq", "'").replace("\\(aq", "'").replace("\\&", "").replace("\\\\", "\\");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_verb_has_a_page_with_the_words_of_its_help() {
    let story = Story::without_hub();
    let ended = story.run(["man", "--folder", "man/man1"]);
    let pages = fs::read_dir(story.path("man/man1")).unwrap().count();
    ended.is(0, &format!("{pages} pages in `man/man1`\n"), "");
    let verbs: Vec<String> = story.verbs();
    let nested = ["token create", "token list", "config check", "tls init", "explain allow"].map(str::to_owned);
    for verb in verbs.iter().filter(|verb| *verb != "help").chain(&nested) {
        let page = fs::read_to_string(story.path(&format!("man/man1/convoke-{}.1", verb.replace(' ', "-")))).unwrap();
        let help = story.run(verb.split(' ').chain(["--help"])).stdout();
        let (page, mut found) = (plain(&page), 0);
        // Whole sentences, since the two are wrapped differently.
        let after = help.split("\n\n").skip(1).filter(|part| !part.contains("Usage:") && !part.contains("  "));
        for part in after {
            let words = part.split_whitespace().collect::<Vec<_>>().join(" ").replace('…', "...");
            assert!(page.contains(&words), "{verb}: `{words}` is not in {page}");
            found += 1;
        }
        for option in help.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| word.starts_with("--")) {
            assert!(page.contains(option), "{verb}: {option}");
            found += 1;
        }
        for example in help.lines().filter(|line| line.starts_with("  convoke ")) {
            let words = example.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(page.contains(&words), "{verb}: `{words}` is not in {page}");
            found += 1;
        }
        assert!(found > 4, "{verb}: {help}");
    }
    let all = plain(&fs::read_to_string(story.path("man/man1/convoke.1")).unwrap());
    for verb in verbs.iter().filter(|verb| *verb != "help") {
        assert!(all.contains(&format!("convoke-{verb}(1)")), "{verb}: {all}");
    }
    assert!(all.contains("69 nothing there"), "{all}");
}

#[test]
fn a_page_alone_is_printed() {
    let story = Story::without_hub();
    story.run(["man", "--folder", "pages"]);
    for (arguments, file) in [
        (&["man"][..], "convoke.1"),
        (&["man", "publish"], "convoke-publish.1"),
        (&["man", "token", "create"], "convoke-token-create.1"),
    ] {
        let page = fs::read_to_string(story.path(&format!("pages/{file}"))).unwrap();
        story.run(arguments).is(0, &page, "");
    }
    story.run(["man", "token", "creat"]).is(
        64,
        "",
        "convoke: `creat` is no verb of `convoke token`; see `convoke --help`\n",
    );
    let file = story.file("file", b"");
    story.run(["man", "--folder", &file]).is(73, "", &format!("convoke: `{file}` cannot be made: File exists\n"));
}

#[test]
fn roff_reads_the_pages_without_a_warning() {
    if Command::new("groff").arg("--version").output().is_err() {
        println!("skipped: there is no groff on this machine");
        return;
    }
    let story = Story::without_hub();
    assert_eq!(story.run(["man", "--folder", "pages"]).code(), 0);
    for page in fs::read_dir(story.path("pages")).unwrap() {
        let page = page.unwrap().path();
        let rendered = Command::new("groff").args(["-man", "-Tascii", "-ww"]).arg(&page).stdin(Stdio::null()).output();
        let rendered = rendered.unwrap();
        let said = String::from_utf8_lossy(&rendered.stderr).into_owned();
        assert!(rendered.status.success() && said.is_empty(), "{}: {said}", page.display());
        assert!(!rendered.stdout.is_empty());
    }
}
