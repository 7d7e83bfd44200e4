"""A live picture of the running lab: one collector, one state, many pages.

`senses` look at the lab and report what they see (`sights`), `collector` runs them while the lab
is up. `scene` is the state, a pure function of the sights so far; `hub` sends its changes to every
page, and `web` serves the page and takes the orders for `buttons`.
"""
