"""What every page for people is made of: safe texts, numbers in words, pictures that follow light and dark.

wording.py    texts made visible and escaped, numbers and times in words, the templates that use them
histogram.py  counts over bins, what a picture needs of a column
charts.py     inline SVG in the page's own colours
page.css      the style sheet of all pages
"""
