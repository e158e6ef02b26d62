//! The page: one HTML document without scripts or anything from elsewhere; texts are escaped by the
//! template.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::store::{MAX_NOTES, Page};
use crate::text::MAX_BYTES;

const STYLE: &str = include_str!("page.css");

/// The notes, with a form to add one and a button to remove each.
pub fn notes(page: &Page) -> String {
    document(&html! {
        h1 { "Notes" }
        p.dim {
            "These notes are kept in a database on a volume of this guest. Anyone who can open this "
            "page can read and change them."
        }
        form.add method="post" action="/notes" {
            textarea name="text" rows="3" maxlength=(MAX_BYTES) required aria-label="New note"
                placeholder="Write a note" {}
            button { "Add" }
        }
        @if page.notes.is_empty() { p { "There are no notes here." } }
        ol {
            @for note in &page.notes {
                li {
                    p dir="auto" { (note.text) }
                    form method="post" action={ "/notes/" (note.id) "/delete" } {
                        button aria-label={ "Remove note " (note.id) } { "Remove" }
                    }
                }
            }
        }
        @if let Some(before) = page.before {
            p { a href={ "/?before=" (before) } { "Older notes" } }
        }
        p.dim {
            (page.count) " of at most " (MAX_NOTES) " notes. The program has started "
            @if page.starts == 1 { "once" } @else { (page.starts) " times" }
            " on this volume."
        }
    })
}

/// Why a request was refused.
pub fn refusal(reason: &str) -> String {
    document(&html! {
        h1 { "Notes" }
        p { "This was not done: " (reason) "." }
        p { a href="/" { "Back to the notes" } }
    })
}

fn document(content: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Notes" }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Note;

    #[test]
    fn a_note_cannot_become_markup() {
        let text = "</p><script>alert(\"1\")</script>&amp;";
        let notes = vec![Note { id: 3, text: text.into() }];
        let html = super::notes(&Page { starts: 1, count: 1, notes, before: None });
        let shown = "&lt;/p&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;";
        assert!(html.contains(shown) && !html.contains("<script"), "{html}");
        assert!(
            html.contains("action=\"/notes/3/delete\"")
                && html.contains("started once on this volume.")
        );
        assert!(refusal("<b>").contains("&lt;b&gt;"));
    }

    #[test]
    fn older_notes_have_a_link() {
        let page = Page { starts: 2, count: 60, notes: Vec::new(), before: Some(11) };
        let html = super::notes(&page);
        assert!(
            html.contains("<a href=\"/?before=11\">")
                && html.contains("started 2 times on this volume.")
        );
        assert!(!super::notes(&Page { before: None, ..page }).contains("?before="));
    }
}
