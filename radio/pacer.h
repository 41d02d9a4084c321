struct radio_pacer;
