"""The configuration: the file's schema, how it is loaded, and what is said when it is wrong.

`schema` is what a valid file holds; `toml_file` reads the text and expands `${VAR}`; `loader` brings keys and checks
together; `diagnostics` puts problems into words, `warnings` what is valid and still costs money or leaks a key.
`settings` applies the order of precedence: flag, environment, file, default.
"""
