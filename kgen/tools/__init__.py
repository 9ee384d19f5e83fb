"""The ``kgen`` command, and what its subcommands do: compare families, let a person judge.

kgen.tools.comparing.run("digits", minutes=2)
kgen.tools.judging.page(real, drawn, "judge.html")
"""
