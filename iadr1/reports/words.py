"""What the report of a detection run says, in English, German and Chinese; text of a model is never translated."""

# ruff: noqa: RUF001 - Chinese has its own colon, comma and brackets
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iadr1.errors import UsageError

LANGUAGES: Mapping[str, str] = MappingProxyType({"en": "English", "de": "Deutsch", "zh": "中文"})
"""Language -> its own name."""

_TABLE: Mapping[str, tuple[str, str, str]] = {
    "title": ("Inspection report", "Prüfbericht", "检测报告"),
    "anomalous": ("NG", "NG", "NG"),
    "undecided": ("Undecided", "Unentschieden", "待判定"),
    "error": ("Error", "Fehler", "错误"),
    "normal": ("OK", "OK", "OK"),
    "all_photos": ("All photos", "Alle Fotos", "全部照片"),
    "language": ("Language", "Sprache", "语言"),
    "print": ("Print / PDF", "Drucken / PDF", "打印 / PDF"),
    "about": ("About this run", "Über diesen Lauf", "本次检测信息"),
    "skip": ("Go to the photos", "Zu den Fotos springen", "跳到照片"),
    "no_script": (
        "Photos, filters and review need JavaScript; summary.csv beside this file lists every photo.",
        "Fotos, Filter und Bewertung brauchen JavaScript; summary.csv neben dieser Datei nennt jedes Foto.",
        "照片、筛选和复核需要 JavaScript；同目录下的 summary.csv 列出了每张照片。",
    ),
    "clean": ("No defect found in {n} photos", "Kein Fehler gefunden in {n} Fotos", "{n} 张照片中未发现缺陷"),
    "clean_one": ("No defect found in 1 photo", "Kein Fehler gefunden in 1 Foto", "1 张照片中未发现缺陷"),
    "clean_open": (
        "No defect found. Photos: {n}; a person must still look at: {m}",
        "Kein Fehler gefunden. Fotos: {n}; davon noch von einem Menschen anzusehen: {m}",
        "未发现缺陷。照片：{n} 张，其中 {m} 张仍需人工查看",
    ),
    "empty_run": ("No photo was looked at.", "Es wurde kein Foto geprüft.", "没有检测任何照片。"),
    # Filter and sort.
    "search": ("Search name, defect, reason", "Name, Fehler, Begründung suchen", "搜索文件名、缺陷、理由"),
    "defect": ("Defect", "Fehlerart", "缺陷"),
    "folder": ("Folder", "Ordner", "文件夹"),
    "review": ("Review", "Bewertung", "复核"),
    "any": ("any", "alle", "不限"),
    "top_folder": ("(top folder)", "(oberster Ordner)", "（根目录）"),
    "open": ("not reviewed", "nicht bewertet", "未复核"),
    "done": ("reviewed", "bewertet", "已复核"),
    "remarked": ("with a remark", "mit Bemerkung", "有备注"),
    "disagreed": ("differs from the verdict", "anders als das Urteil", "与判定不一致"),
    "sort": ("Sort by", "Sortieren nach", "排序"),
    "urgency": ("most suspicious first", "Verdächtigste zuerst", "最可疑优先"),
    "score": ("anomaly score", "Anomaliewert", "异常分数"),
    "area": ("defect area", "Fehlerfläche", "缺陷面积"),
    "name": ("file name", "Dateiname", "文件名"),
    "verdict": ("verdict", "Urteil", "判定"),
    "reverse": ("Reverse the order", "Reihenfolge umkehren", "反向排序"),
    "shown": ("{n} of {m} photos", "{n} von {m} Fotos", "{n} / {m} 张照片"),
    "none_fit": ("No photo fits these filters.", "Kein Foto passt zu diesen Filtern.", "没有符合筛选条件的照片。"),
    "clear": ("Clear the filters", "Filter aufheben", "清除筛选"),
    "more": ("Show more", "Mehr zeigen", "显示更多"),
    # A card.
    "enlarge": ("Enlarge {name}", "{name} vergrößern", "放大 {name}"),
    "no_picture": ("no picture", "kein Bild", "无图片"),
    "show_photo": ("Plain photo", "Nur Foto", "原图"),
    "show_overlay": ("With findings", "Mit Befund", "显示标注"),
    "no_score": ("no anomaly score", "kein Anomaliewert", "无异常分数"),
    "threshold": ("threshold {t}", "Schwelle {t}", "阈值 {t}"),
    "direct": ("scored only", "nur bewertet", "仅评分"),
    "looks": ("{n} looks", "{n} Blicke", "查看 {n} 次"),
    "references": ("Reference", "Referenz", "参考"),
    "not_read": (
        "Undecided ({why}). Please look at the photo yourself.",
        "Unentschieden ({why}). Bitte das Foto selbst ansehen.",
        "待判定（{why}）。请人工查看照片。",
    ),
    "not_as_asked": (
        "The answer was not quite as asked ({why}).",
        "Die Antwort war nicht ganz wie verlangt ({why}).",
        "回答与要求的格式不完全一致（{why}）。",
    ),
    "box": ("Box (px)", "Kasten (px)", "框 (px)"),
    "area_px": ("Area", "Fläche", "面积"),
    "mask": ("Mask", "Maske", "掩码"),
    "box_only": ("box only", "nur Kasten", "仅框"),
    "more_defects": (
        "{n} more in detections.jsonl",
        "{n} weitere in detections.jsonl",
        "另有 {n} 处，见 detections.jsonl",
    ),
    "raw": ("Full answer of the model", "Ganze Antwort des Modells", "模型的完整回答"),
    "cut": (
        "[cut; the whole text is in detections.jsonl]",
        "[gekürzt; der ganze Text steht in detections.jsonl]",
        "[已截断，全文见 detections.jsonl]",
    ),
    "original": ("Original file", "Originaldatei", "原始文件"),
    "previous": ("Previous photo", "Voriges Foto", "上一张"),
    "next": ("Next photo", "Nächstes Foto", "下一张"),
    "close": ("Close", "Schließen", "关闭"),
    # Review.
    "decision": (
        "Decision about the part in {name}",
        "Entscheidung über das Teil in {name}",
        "对 {name} 中零件的决定",
    ),
    "accept": ("Accept", "Annehmen", "接收"),
    "reject": ("Reject", "Zurückweisen", "拒收"),
    "unsure": ("Unsure", "Unsicher", "不确定"),
    "remark": ("Remark", "Bemerkung", "备注"),
    "reviewer": ("Reviewer", "Prüfer", "复核人"),
    "progress": ("{n} of {m} reviewed", "{n} von {m} bewertet", "已复核 {n} / {m}"),
    "overruled": (
        "{a} NG accepted, {b} OK rejected",
        "{a} NG angenommen, {b} OK zurückgewiesen",
        "{a} 张 NG 被接收，{b} 张 OK 被拒收",
    ),
    "export_csv": ("Export CSV", "CSV exportieren", "导出 CSV"),
    "export_json": ("Export JSON", "JSON exportieren", "导出 JSON"),
    "import": ("Import", "Importieren", "导入"),
    "imported": (
        "Taken over: {n}. Belong to no photo of this report: {m}. Older than what is here: {k}.",
        "Übernommen: {n}. Ohne Foto in diesem Bericht: {m}. Älter als das Vorhandene: {k}.",
        "已导入：{n}。在本报告中没有对应照片：{m}。比现有记录旧：{k}。",
    ),
    "not_review": (
        "This file holds no review: a CSV or JSON exported from a report is needed.",
        "Diese Datei enthält keine Bewertung: Nötig ist ein CSV oder JSON aus einem Bericht.",
        "该文件不含复核记录：需要从报告导出的 CSV 或 JSON。",
    ),
    "not_kept": (
        "This browser keeps nothing for this page: export the review before you close it.",
        "Dieser Browser speichert für diese Seite nichts: Bewertung vor dem Schließen exportieren.",
        "此浏览器不为本页保存数据：关闭前请先导出复核记录。",
    ),
    "keys": (
        "Keys: / search; on a card A accept, R reject, U unsure, Enter enlarge, J and K next and previous.",
        "Tasten: / suchen; auf einer Karte A annehmen, R zurückweisen, U unsicher, Enter vergrößern, J und K weiter "
        "und zurück.",
        "快捷键：/ 搜索；在卡片上 A 接收，R 拒收，U 不确定，Enter 放大，J、K 下一张、上一张。",
    ),
    # Paper and notes.
    "counts": ("Result", "Ergebnis", "结果"),
    "photos": ("Photos", "Fotos", "照片"),
    "share": ("Share", "Anteil", "占比"),
    "ok_list": ("Photos judged OK", "Als OK beurteilte Fotos", "判定为 OK 的照片"),
    "attention": ("Photos that need attention", "Fotos, die Aufmerksamkeit brauchen", "需要关注的照片"),
    "attention_more": (
        "Further photos that need attention, without pictures",
        "Weitere Fotos, die Aufmerksamkeit brauchen, ohne Bilder",
        "其他需要关注的照片（无图片）",
    ),
    "signatures": ("Signatures", "Unterschriften", "签名"),
    "inspector": ("Inspector", "Prüfer", "检验员"),
    "manager": ("Quality manager", "Qualitätsleitung", "质量经理"),
    "sign_name": ("Name", "Name", "姓名"),
    "sign_date": ("Place, date", "Ort, Datum", "地点、日期"),
    "sign": ("Signature", "Unterschrift", "签名"),
    "not_reviewed": ("not reviewed", "nicht bewertet", "未复核"),
    "notes": ("How to read this report", "Wie dieser Bericht zu lesen ist", "如何阅读本报告"),
    "note_verdicts": (
        "NG: judged defective. OK: judged free of defects. Undecided: the score lies in the uncertain band or the "
        "answer could not be read; a person must look. Error: the photo could not be looked at.",
        "NG: als fehlerhaft beurteilt. OK: als fehlerfrei beurteilt. Unentschieden: Der Wert liegt im unsicheren "
        "Bereich oder die Antwort war nicht lesbar; ein Mensch muss hinsehen. Fehler: Das Foto konnte nicht geprüft "
        "werden.",
        "NG：判定有缺陷。OK：判定无缺陷。待判定：分数处于不确定区间或回答无法解析，须人工查看。错误：照片无法检测。",
    ),
    "note_score": (
        "The anomaly score is the model's probability of a defect, from 0 to 1.",
        "Der Anomaliewert ist die Wahrscheinlichkeit eines Fehlers laut Modell, von 0 bis 1.",
        "异常分数是模型给出的存在缺陷的概率，范围 0 到 1。",
    ),
    "note_uncalibrated": (
        "No calibrated threshold belongs to this run: the score's scale means nothing for a false-alarm rate.",
        "Zu diesem Lauf gehört keine kalibrierte Schwelle: Aus dem Wert folgt keine Fehlalarmrate.",
        "本次检测没有经过校准的阈值：分数不能换算为误报率。",
    ),
    "note_boxes": (
        "Boxes are x1, y1, x2, y2 in pixels of the photo. Under Mask stands what drew it and how clearly the region "
        "stands out, from 0 to 1, and where known the IoU of the box and the mask's own; “box only” means "
        "that no mask was found and the area is the box's.",
        "Kästen sind x1, y1, x2, y2 in Pixeln des Fotos. Unter Maske steht, was sie gezeichnet hat und wie deutlich "
        "sich der Bereich abhebt, von 0 bis 1, und soweit bekannt die IoU von Kasten und Maskenkasten; „nur "
        "Kasten“ heißt: keine Maske gefunden, die Fläche ist die des "
        "Kastens.",
        "框为照片像素坐标 x1, y1, x2, y2。“掩码”一列给出生成方法和区域清晰程度（0 到 1），以及框与掩码外接框的 IoU；"
        "“仅框”表示未得到掩码，面积为框的面积。",
    ),
    "note_limits": (
        "Verdicts and reasons were written by a model. It can miss defects and report some that do not exist; its "
        "reasons are no measurement. This report supports a decision and does not replace the release by a "
        "responsible person.",
        "Urteile und Begründungen stammen von einem Modell. Es kann Fehler übersehen und solche melden, die es nicht "
        "gibt; seine Begründungen sind keine Messung. Dieser Bericht stützt eine Entscheidung und ersetzt nicht die "
        "Freigabe durch eine verantwortliche Person.",
        "判定和理由由模型生成，可能漏检，也可能误报；理由不是测量结果。本报告用于辅助决策，不能代替负责人的放行。",
    ),
    "note_review": (
        "A decision is about the part, not about the verdict; it stays in this browser until it is exported.",
        "Eine Entscheidung gilt dem Teil, nicht dem Urteil; sie bleibt in diesem Browser, bis sie exportiert wird.",
        "决定针对零件而非判定；导出前只保存在本浏览器中。",
    ),
    "note_pictures": (
        "Pictures inside this file: {n} of {m} photos, the most suspicious first, until the file is full (about "
        "{mb} MB), at most {side} px wide or high. A photo with findings carries both pictures, with and without "
        "them. Pictures of other photos are loaded from the run's folder and the photos' folder, where these still "
        "lie as they did.",
        "Bilder in dieser Datei: {n} von {m} Fotos, die verdächtigsten zuerst, bis die Datei voll ist (etwa {mb} MB), "
        "höchstens {side} px breit oder hoch. Ein Foto mit Befund trägt beide Bilder, mit und ohne. Bilder anderer "
        "Fotos werden aus den Ordnern des Laufs und der Fotos geladen, wenn diese noch am selben Ort liegen.",
        "本文件内含图片：{m} 张照片中的 {n} 张，最可疑优先，直至文件写满（约 {mb} MB），最大边长 {side} px。"
        "有缺陷的照片同时含原图和标注图。其余图片从检测结果文件夹和照片文件夹加载（须保持原位置）。",
    ),
    "note_licence": (
        "Photos and model weights keep their own licences; read them before this report is passed on.",
        "Fotos und Modellgewichte behalten ihre eigenen Lizenzen; vor der Weitergabe dieses Berichts lesen.",
        "照片和模型权重各有其许可证；转发本报告前请阅读。",
    ),
    # Names in the head that a run gives; others stay as they are.
    "info.Photos": ("Photos", "Fotos", "照片"),
    "info.Date": ("Date", "Datum", "日期"),
    "info.Model": ("Model", "Modell", "模型"),
    "info.Weights": ("Weights", "Gewichte", "权重"),
    "info.Mode": ("Mode", "Betriebsart", "模式"),
    "info.Verdict": ("Verdict", "Urteil", "判定规则"),
    "info.Masks": ("Masks", "Masken", "掩码"),
    "info.References": ("References", "Referenzen", "参考图"),
    "info.Protocol": ("Protocol", "Protokoll", "协议"),
    "info.Calibration": ("Calibration", "Kalibrierung", "校准"),
    "info.Threshold": ("Threshold", "Schwelle", "阈值"),
    "info.Undecided between": ("Undecided between", "Unentschieden zwischen", "待判定区间"),
    "info.Config hash": ("Config hash", "Hash der Einstellungen", "配置哈希"),
    "info.Versions": ("Versions", "Versionen", "版本"),
    "info.Licences": ("Licences", "Lizenzen", "许可证"),
    "info.Note": ("Note", "Hinweis", "说明"),
    "info.No scores": ("No scores", "Keine Werte", "无分数"),
}


def words(language: str) -> dict[str, str]:
    """Key -> text in a language.

    Raises:
        UsageError: The language is none of `LANGUAGES`.
    """
    if language not in LANGUAGES:
        raise UsageError(f"no report in the language {language!r}", hint=f"there are {', '.join(LANGUAGES)}")
    column = list(LANGUAGES).index(language)
    return {key: texts[column] for key, texts in _TABLE.items()}
