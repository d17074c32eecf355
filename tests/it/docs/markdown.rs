//! A Markdown text enters, its links, code and commands leave. As much of Markdown as our own papers use.

/// Blocks between fences, each with its language.
pub(super) fn code_blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, opened) = rest.split_once("```")?;
        let (language, block) = opened.split_once('\n')?;
        let (block, after) = block.split_once("```")?;
        rest = after;
        Some((language.trim(), block))
    })
}

/// What stands between single backticks, fenced blocks aside.
pub(super) fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let lines = prose(text).into_iter();
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Targets of links, fenced blocks aside.
pub(super) fn links(text: &str) -> impl Iterator<Item = &str> {
    let lines = prose(text).into_iter();
    lines.flat_map(|line| {
        line.split("](")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(')')?.0))
    })
}

/// The names by which headings are linked to.
pub(super) fn anchors(text: &str) -> impl Iterator<Item = String> {
    prose(text)
        .into_iter()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter })
                .collect()
        })
}

/// The arguments of every `longshore` command in a text: in shell blocks, and in spans that begin with it.
pub(super) fn commands(text: &str) -> Vec<Vec<String>> {
    let blocks = code_blocks(text)
        .filter(|(language, _)| ["sh", "console"].contains(language))
        .flat_map(|(language, block)| shell_lines(language, block));
    let spans = code_spans(text).filter(|span| span.starts_with("longshore "));
    blocks.chain(spans).filter_map(arguments).collect()
}

/// Lines that a person types; in a console those behind the prompt.
fn shell_lines<'a>(language: &'a str, block: &'a str) -> impl Iterator<Item = &'a str> {
    block.lines().filter_map(move |line| match language {
        "console" => line.trim_start().strip_prefix("$ "),
        _ => Some(line),
    })
}

/// What follows the program's name, up to a pipe, a redirection or a comment. The program stands first, variables aside;
/// in a container it is called by its path.
fn arguments(line: &str) -> Option<Vec<String>> {
    let ends = |word: &&str| ["|", ">", "&", "&&"].contains(word) || word.starts_with('#');
    let words: Vec<&str> = line.split_whitespace().take_while(|word| !ends(word)).collect();
    let first = words.iter().position(|word| !word.contains('='))?;
    let program = match words[first] {
        "longshore" | "./longshore" => first,
        _ => words.iter().position(|word| *word == "/longshore")?,
    };
    let arguments = words[program + 1..]
        .iter()
        .map(|word| word.trim_matches(['\'', '"']).to_owned());
    Some(arguments.collect())
}

/// Lines outside fenced blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut inside = false;
    let is_prose = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    };
    text.lines().filter(is_prose).collect()
}

#[test]
fn links_code_and_commands_are_found() {
    let text = "# A b-c, d!\n[x](y.md#z) and `longshore run`\n```sh\n$ no [l](n)\nX=1 longshore check 'f' | less # longshore a\n\
        kubectl -n longshore logs\nkubectl -n longshore exec x -- /longshore config\n```\n";
    assert_eq!(anchors(text).collect::<Vec<_>>(), ["a-b-c-d"]);
    assert_eq!(links(text).collect::<Vec<_>>(), ["y.md#z"]);
    assert_eq!(commands(text), [vec!["check", "f"], vec!["config"], vec!["run"]]);
}
