"""The console: what administrators see and manage in a browser, below `/console`.

It is the first client of the REST API, in process: each page and each form asks operations, as the
person who signed in, and is admitted as any caller is. So nobody sees or does more here than there.
Pages are made on the server and work without JavaScript; no state is kept between them.
"""
