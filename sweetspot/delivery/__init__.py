"""What a published version says about itself: books, manifest, dataset card, Croissant, lineage, report.

Everything here turns plain numbers into text. Callers do the reading, the counting and the writing:

    facts.py      the one input: a manifest and the numbers, histograms and examples of a version
    books.py      rows in = rows out + rows dropped, by id set, per stage
    manifest.py   manifest.json: what a version is made of; writing it is the commit
    card.py       README.md, a dataset card that `datasets.load_dataset` reads
    croissant.py  croissant.json, Croissant 1.1
    lineage.py    lineage.json, an OpenLineage run event
    report.py     report.html, one page for people
"""
