//! What of a file is compiled for tests only.

use proc_macro2::TokenTree;

/// An item that only tests have.
pub fn is_item(item: &syn::Item) -> bool {
    attributes(item).iter().any(is_attribute)
}

/// `#[test]`, `#[cfg(test)]` and `#[cfg(any(test, …))]`.
pub fn is_attribute(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
    let names_test = |token: TokenTree| match token {
        TokenTree::Ident(ident) => ident == "test",
        TokenTree::Group(group) => {
            group.stream().into_iter().any(|token| token.to_string() == "test")
        }
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    };
    attribute.path().is_ident("cfg") && list.tokens.clone().into_iter().any(names_test)
}

/// The attributes of the items that tests are made of.
fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
