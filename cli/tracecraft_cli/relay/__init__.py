"""The relay: commands of a sandbox without network, run outside of it, by way of a folder in the workspace.

Inside, `asking` puts a request into the folder and waits for its answer, or leaves it there with a receipt. Outside,
`server` takes the requests that `policy` allows and runs them. Nothing that lies in the folder is trusted outside.
"""
