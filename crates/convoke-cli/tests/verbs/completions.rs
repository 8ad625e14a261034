//! `convoke completions`.

use std::process::Command;

use crate::story::{Story, run};

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "elvish", "powershell"];

#[test]
fn every_verb_is_completed_in_every_shell() {
    let story = Story::without_hub();
    let verbs = story.verbs();
    for shell in SHELLS {
        let ended = story.run(["completions", shell]);
        let script = ended.stdout();
        assert_eq!((ended.code(), ended.stderr()), (0, String::new()), "{shell}");
        for verb in &verbs {
            assert!(script.contains(verb), "{shell} does not know `{verb}`");
        }
    }
    assert_eq!(story.run(["completions", "tcsh"]).code(), 64);
}

/// What bash offers where the last of these words is begun.
fn completed(story: &Story, words: &[&str]) -> Vec<String> {
    let script = story.path("convoke.bash");
    if !script.exists() {
        std::fs::write(&script, story.run(["completions", "bash"]).stdout()).unwrap();
    }
    let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let typed = format!(
        "source '{}'; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         _convoke convoke \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", &typed]);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_options_and_words() {
    if Command::new("bash").arg("--version").output().is_err() {
        println!("skipped: there is no bash on this machine");
        return;
    }
    let story = Story::without_hub();
    assert_eq!(completed(&story, &["convoke", "sub"]), ["subscribe"]);
    assert_eq!(completed(&story, &["convoke", "token", "cr"]), ["create"]);
    assert_eq!(completed(&story, &["convoke", "publish", "--conf"]), ["--confirm"]);
    assert_eq!(completed(&story, &["convoke", "list", "no"]), ["nodes"]);
    assert_eq!(completed(&story, &["convoke", "hub", "--limits-pay"]), ["--limits-payload"]);
    // What is only there to be refused, or means nothing, is offered to nobody.
    assert_eq!(completed(&story, &["convoke", "publish", "--token"]), ["--token-file"]);
    assert!(!completed(&story, &["convoke", "completions", "--"]).contains(&"--author".to_owned()));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let story = Story::without_hub();
    let mut command = story.convoke(["completions", "bash"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer);
    run(command).is(0, "", "");
}
