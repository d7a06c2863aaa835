// SPDX-License-Identifier: MIT
// C highlighting of kpmagic's cells. This file is the extension as JupyterLab loads it: a module
// federation container, written by hand, so that nothing is built. What it needs is JupyterLab's
// own copy of CodeMirror, from the scope that JupyterLab shares with its extensions.
"use strict";

(() => {
    const MAGIC = /^\s*%%(?:kprobe|kretprobe|kmodule|bcc)(?![\w.])[^\n]*/;
    const LONGEST_MAGIC = 16384; // characters; what of a cell is looked at for its first line

    let scope = {};

    /** A module of JupyterLab's: the copy that is in use already, when there are several. */
    async function shared(name) {
        const copies = Object.values(scope[name] ?? {});
        const copy = copies.find((each) => each.loaded) ?? copies[0];
        if (!copy) throw new Error(`kpmagic-lab: this JupyterLab shares no ${name}`);
        return (await copy.get())();
    }

    /** Where the C of a text begins; -1 where it is no cell of ours. */
    const bodyOf = (text) => MAGIC.exec(text)?.[0].length ?? -1;

    /** A language whose first line is a magic and whose rest is parsed by `inner`. */
    function belowMagic(inner, { common, highlight, language }) {
        const top = common.NodeType.define({
            id: 1, name: "ProbeCell", top: true,
            props: [[language.languageDataProp, inner.data]],
        });
        const magic = new common.NodeSet([common.NodeType.define({ id: 0, name: "Magic" })])
            .extend(highlight.styleTags({ Magic: highlight.tags.meta })).types[0];

        class CellParse {
            constructor(input, ranges) {
                const read = input.read(0, Math.min(input.length, LONGEST_MAGIC));
                this.length = input.length;
                this.from = Math.max(bodyOf(read), 0);
                const below = ranges
                    .filter((range) => range.to > this.from)
                    .map(({ from, to }) => ({ from: Math.max(from, this.from), to }));
                this.start = below[0]?.from ?? this.length;
                // cells are short: parsed anew at each change, so no fragments
                this.inner = below.length ? inner.parser.startParse(input, [], below) : null;
                this.stoppedAt = null;
            }

            get parsedPos() {
                return this.inner ? this.inner.parsedPos : this.length;
            }

            advance() {
                const body = this.inner?.advance();
                if (this.inner && !body) return null;
                const parts = [new common.Tree(magic, [], [], this.from)];
                const places = [0];
                if (body) {
                    parts.push(body);
                    places.push(this.start);
                }
                const end = body ? this.start + body.length : this.from;
                return new common.Tree(top, parts, places, Math.max(end, this.from));
            }

            stopAt(place) {
                this.stoppedAt = place;
                this.inner?.stopAt(Math.max(place, this.start));
            }
        }

        class CellParser extends common.Parser {
            createParse(input, fragments, ranges) {
                return new CellParse(input, ranges);
            }
        }

        return new language.Language(inner.data, new CellParser(), [], "kpmagic");
    }

    /** An editor's extension: while its text is a cell of ours, its language is C. */
    function whileProbe(probe, text, { language, state }) {
        const slot = new state.Compartment();
        const of = (ours) => (ours ? state.Prec.highest(language.language.of(probe)) : []);
        const isOurs = (doc) => bodyOf(doc.sliceString(0, LONGEST_MAGIC)) >= 0;
        // not a facet computed from the text: CodeMirror takes one without a value for a language
        const follow = state.EditorState.transactionExtender.of((change) => {
            if (!change.docChanged) return null;
            const ours = isOurs(change.newDoc);
            if (ours === isOurs(change.startState.doc)) return null;
            return { effects: slot.reconfigure(of(ours)) };
        });
        return [slot.of(of(bodyOf(text) >= 0)), follow];
    }

    async function plugin() {
        const [codemirror, language, state, common, highlight] = await Promise.all([
            "@jupyterlab/codemirror", "@codemirror/language", "@codemirror/state",
            "@lezer/common", "@lezer/highlight",
        ].map(shared));
        return {
            id: "kpmagic-lab:c",
            description: "C highlighting in cells of kpmagic.",
            autoStart: true,
            requires: [codemirror.IEditorExtensionRegistry, codemirror.IEditorLanguageRegistry],
            activate: async (app, extensions, languages) => {
                const c = await languages.getLanguage("C");
                const probe = belowMagic(c.support.language, { common, highlight, language });
                extensions.addExtension({
                    name: "kpmagic-lab:c",
                    factory: ({ model }) => ({
                        instance: () =>
                            whileProbe(probe, model.sharedModel.getSource(), { language, state }),
                        reconfigure: () => null,
                    }),
                });
            },
        };
    }

    window._JUPYTERLAB ??= {};
    window._JUPYTERLAB["kpmagic-lab"] = {
        init(given) {
            scope = given;
        },
        async get() {
            const made = await plugin();
            return () => ({ __esModule: true, default: made });
        },
    };
})();
